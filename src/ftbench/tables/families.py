"""The tables about families of runs: soups and their ingredients, lines between runs, and task vectors."""

from __future__ import annotations

from ftbench.tables.column import FLAG, INTEGER, NUMBER, TEXT, Column, Table
from ftbench.tables.recurring import (
    EVAL_SET,
    METRIC,
    MIXED,
    MODEL,
    PROVENANCE,
    ROLE,
    STATUSES,
    STUDY,
    TASK,
)

SOUPS = Table(
    "soups",
    "One row for every soup that the study asks for, the missing ones included.",
    ("soup_id",),
    (
        Column("soup_id", TEXT, "the soup's folder below the study; `artifact_id` in other tables"),
        STUDY, TASK, MODEL,
        *MIXED,
        Column("family", TEXT, "name of the soup in the study"),
        Column("over", TEXT, "along what its runs differ", nullable=True,
               values=("seeds", "variants", "methods", "tasks")),
        Column("recipe", TEXT, "soup plug-in"),
        Column("status", TEXT, "success, failed, or missing where there is no result", values=STATUSES),
        Column("error", TEXT, "reason where the status is not success", nullable=True),
        Column("params_json", TEXT, "settings of the recipe, JSON", nullable=True, json=True),
        Column("select_metric", TEXT, "metric of the selection", nullable=True),
        Column("select_score", NUMBER, "score of the soup on the selection rows", nullable=True),
        Column("select_rows", INTEGER, "rows behind that score: all, or those that a recipe did not learn from",
               nullable=True, low=0),
        Column("best_single_run_id", TEXT, "ingredient with the highest select score", nullable=True),
        Column("best_single_score", NUMBER, "score of that ingredient on the same rows", nullable=True),
        Column("n_left_out", INTEGER, "runs of the family that failed or collapsed and could not go in",
               nullable=True, low=0),
        Column("n_candidates", INTEGER, "runs that could have gone in", nullable=True, low=0),
        Column("n_ingredients", INTEGER, "runs that went in", nullable=True, low=0),
        Column("accum_dtype", TEXT, "number format of the sum", nullable=True),
        Column("out_dtype", TEXT, "number format of the result", nullable=True),
        Column("wall_seconds", NUMBER, "time of the job, s", nullable=True, low=0),
        Column("peak_anonymous_bytes", INTEGER, "peak memory of the averaging, bytes; as in `runs`",
               nullable=True, low=0),
        *PROVENANCE,
    ),
)  # fmt: skip

SOUP_INGREDIENTS = Table(
    "soup_ingredients",
    "One row for each candidate of a soup, in the order in which it was tried.",
    ("soup_id", "position"),
    (
        Column("soup_id", TEXT, "the soup"),
        Column("position", INTEGER, "place in the order tried, from 0", low=0),
        Column("run_id", TEXT, "the run"),
        Column("select_score", NUMBER, "score of the run alone on the selection rows", nullable=True),
        Column("checkpoint_sha256", TEXT, "sha256 of its weights file when the soup was made", nullable=True),
        Column("weight", NUMBER, "weight in the average; null where weights differ by tensor", nullable=True),
        Column("candidate_rank", INTEGER, "rank by select score", low=0, nullable=True),
        Column("trial_score", NUMBER, "select score of the soup with this candidate", nullable=True),
        Column("accepted", FLAG, "whether it went in"),
    ),
)

_PATH = (
    Column("path_id", TEXT, "the path's folder below the study"),
    STUDY, TASK, MODEL,
    *MIXED,
    Column("family", TEXT, "name of the path in the study"),
)  # fmt: skip
_ENDS = (
    Column("first", TEXT, "one end: a run, or `start`, the model before the first step"),
    Column("second", TEXT, "the other end: a run, or `mean`, the mean of the family's runs"),
)

PATHS = Table(
    "paths",
    "One row for each point of a line between two models and each set: theta = (1-position) first + position second.",
    ("path_id", "first", "second", "eval_set", "position"),
    (
        *_PATH, *_ENDS, EVAL_SET, ROLE,
        Column("position", NUMBER, "place on the line", low=0, high=1),
        Column("loss", NUMBER, "mean loss of the rows; null where the set's labels are not the model's", nullable=True),
        METRIC,
        Column("score", NUMBER, "score, higher is better; null where undefined", nullable=True),
        Column("n", INTEGER, "rows judged", low=1),
    ),
)  # fmt: skip

BARRIERS = Table(
    "barriers",
    "One row for each line and set: how far the points rise above the straight line between the values at its ends.",
    ("path_id", "first", "second", "eval_set"),
    (
        *_PATH, *_ENDS, EVAL_SET, ROLE,
        Column("loss_barrier", NUMBER, "highest rise of the loss; 0 where it nowhere rises", nullable=True, low=0),
        METRIC,
        Column("score_barrier", NUMBER, "deepest fall of the score below that line", nullable=True, low=0),
        Column("highest_loss_at", NUMBER, "position of the highest loss", nullable=True, low=0, high=1),
        Column("n", INTEGER, "rows judged", low=1),
    ),
)  # fmt: skip

TASK_VECTORS = Table(
    "task_vectors",
    "One row for each pair of runs of a path's family: where they lie to each other, seen from their start.",
    ("path_id", "first", "second"),
    (
        *_PATH,
        Column("first", TEXT, "one run"),
        Column("second", TEXT, "the other run"),
        Column("first_norm", NUMBER, "Euclidean length of theta - theta_0 of the first", low=0),
        Column("second_norm", NUMBER, "the same of the second", low=0),
        Column("distance", NUMBER, "Euclidean distance of the two", low=0),
        Column(
            "cosine",
            NUMBER,
            "cosine of their task vectors; null where one is zero",
            nullable=True,
            low=-1.000001,
            high=1.000001,
        ),
    ),
)
