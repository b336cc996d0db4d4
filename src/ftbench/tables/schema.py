"""The tables of a study: every column with its type, limits and meaning.

`tables/store.py` checks files against these on write and on read, and `docs/tables.md` is generated from
them. A column never changes its meaning; a change raises `SCHEMA_VERSION`.
"""

from __future__ import annotations

import pyarrow as pa

from ftbench.config.errors import FtbenchError, nearest
from ftbench.tables.attack_schema import ATTACK_COMPARISONS, ATTACK_SCORES, ATTACKS, TRANSFER
from ftbench.tables.calibration import CALIBRATION
from ftbench.tables.column import FLAG, INTEGER, NUMBER, SINGLE, TEXT, Column, Table
from ftbench.tables.comparison import COMPARISONS, STANDINGS
from ftbench.tables.detection import DETECTION, FEATURES, LIKELIHOODS
from ftbench.tables.families import BARRIERS, PATHS, SOUP_INGREDIENTS, SOUPS, TASK_VECTORS
from ftbench.tables.perturbation_schema import PERTURBATIONS, PERTURBED_PREDICTIONS
from ftbench.tables.prior_schema import FORGETTING, PARETO, PRETRAIN_SAMPLES, REHEARSAL_TRACE
from ftbench.tables.recurring import (
    ARTIFACT_KINDS,
    EVAL_SET,
    LABEL_RULES,
    METHOD,
    METRIC,
    MODEL,
    PROVENANCE,
    ROLE,
    SEED,
    STATUSES,
    STUDY,
    TASK,
    UNITS,
    VARIANT,
)
from ftbench.tables.robustness import GROUPS, ROBUSTNESS, TRENDS
from ftbench.tables.shift import SHIFT, SIMILARITY

_STUDY, _TASK, _MODEL, _METHOD, _VARIANT, _SEED = STUDY, TASK, MODEL, METHOD, VARIANT, SEED
_EVAL_SET, _ROLE, _METRIC, _PROVENANCE = EVAL_SET, ROLE, METRIC, PROVENANCE

RUNS = Table(
    "runs",
    "One row for every fine-tuning run that the study asks for, the missing ones included.",
    ("run_id",),
    (
        Column("run_id", TEXT, "the run's folder below the study; `artifact_id` in other tables"),
        _STUDY, _TASK, _MODEL, _METHOD, _VARIANT, _SEED,
        Column("status", TEXT, "failed: non-finite loss; collapsed: select score no better than the majority"
               " label; missing: no result", values=STATUSES),
        Column("error", TEXT, "reason where the status is failed or missing", nullable=True),
        Column("kind", TEXT, "what the task predicts", nullable=True,
               values=("classification", "regression")),
        Column("labels", pa.list_(TEXT), "labels in the order of the model's head", nullable=True),
        Column("methods", TEXT, "composed plug-ins with their settings, JSON", nullable=True, json=True),
        Column("init_hash", TEXT, "hash of all weights before the first step", nullable=True),
        Column("init_seed", INTEGER, "seed of new weights", nullable=True),
        Column("order_seed", INTEGER, "seed of the order of the training rows", nullable=True),
        Column("data_seed", INTEGER, "seed of the training subset", nullable=True),
        Column("trial", TEXT, "setting that the tuning chose, by its name in table `tuning`", nullable=True),
        Column("config_json", TEXT, "resolved settings of the run, JSON", nullable=True, json=True),
        Column("precision", TEXT, "number format of the training", nullable=True),
        Column("accumulation", INTEGER, "micro-batches of a step; more than the settings say where the device's memory"
               " was too small", nullable=True, low=1),
        Column("train_rows", INTEGER, "rows of the training set", nullable=True, low=0),
        Column("steps", INTEGER, "optimiser steps taken", nullable=True, low=0),
        Column("best_step", INTEGER, "step whose weights were kept", nullable=True, low=0),
        Column("select_metric", TEXT, "metric of the selection", nullable=True),
        Column("select_score", NUMBER, "score of the kept weights on the selection rows", nullable=True),
        Column("majority_score", NUMBER, "score there of always giving the commonest answer", nullable=True),
        Column("examples_seen", INTEGER, "training rows passed through the model", nullable=True, low=0),
        Column("tokens_seen", INTEGER, "the same in tokens, padding excluded", nullable=True, low=0),
        Column("train_seconds", NUMBER, "time of the steps without evaluation, s", nullable=True, low=0),
        Column("total_seconds", NUMBER, "time of the whole job, s", nullable=True, low=0),
        Column("examples_per_second", NUMBER, "training throughput, rows/s", nullable=True, low=0),
        Column("peak_memory_bytes", INTEGER, "peak memory of the training, bytes: of the device's allocator,"
               " or of the process on a CPU, mapped files excluded", nullable=True, low=0),
        Column("trainable_parameters", INTEGER, "parameters that training may change", nullable=True, low=0),
        Column("total_parameters", INTEGER, "parameters of the model", nullable=True, low=0),
        Column("device", TEXT, "device that trained", nullable=True),
        Column("rehearsed_rows", INTEGER, "prior rows trained on beside the new ones; not in `examples_seen`",
               nullable=True, low=0),
        Column("rehearsed_tokens", INTEGER, "the same in tokens, padding excluded", nullable=True,
               low=0),
        Column("forward_rows_extra", INTEGER, "rows that a sampler passed through the model without training on"
               " them; a forward pass is about a third of a training row", nullable=True, low=0),
        Column("charged_rows", NUMBER, "`examples_seen` and `rehearsed_rows`, and a third of `forward_rows_extra`: what"
               " samplers are compared at", nullable=True, low=0),
        Column("prior_head", TEXT, "head that prior rows passed through in training", nullable=True,
               values=("frozen", "shared")),
        Column("prior_gradient_norm", NUMBER, "norm of the prior task's mean gradient at the start, where a method"
               " adds it (dba)", nullable=True, low=0),
        Column("split_half_cosine", NUMBER, "cosine of that gradient's means over two halves of the prior rows; below"
               " about 0.5 the direction is noise", nullable=True, low=-1, high=1),
        Column("notes", TEXT, "what a method says of its run", nullable=True),
        *_PROVENANCE,
    ),
)  # fmt: skip

METRICS = Table(
    "metrics",
    "One row a score: an artifact on an evaluation set by a metric. Artifacts that failed have none.",
    ("artifact_id", "eval_set", "metric"),
    (
        Column("artifact_id", TEXT, "run, soup or base artifact: its folder below the study"),
        _EVAL_SET, _METRIC, _STUDY, _TASK, _MODEL,
        Column("artifact_kind", TEXT, "what was scored", values=ARTIFACT_KINDS),
        Column("method", TEXT, "method; null for a base model", nullable=True),
        Column("variant", TEXT, "variant of the method; null for a base model", nullable=True),
        Column("seed", INTEGER, "seed of a run; null for soups and base models", nullable=True, low=0),
        _ROLE,
        Column("value", NUMBER, "score; null where undefined, as a correlation with a constant",
               nullable=True),
        Column("ci_low", NUMBER, "lower end of the 95 % bootstrap interval over examples", nullable=True),
        Column("ci_high", NUMBER, "upper end of that interval; says nothing about seeds", nullable=True),
        Column("n", INTEGER, "examples scored", low=1),
        Column("value_distinct", NUMBER, "the score without rows that stand or nearly stand in the training rows; equal"
               " to `value` where there are none; null where undefined, where no row is left, and in older files",
               nullable=True),
        Column("n_distinct", INTEGER, "examples left then", nullable=True, low=0),
        Column("higher_is_better", FLAG, "direction of the metric"),
        Column("unit", TEXT, "fraction: shown in percent by reports", values=UNITS),
        Column("label_map", TEXT, "how model labels were read in the set's labels; null for regression",
               nullable=True, values=LABEL_RULES),
        Column("resamples", INTEGER, "bootstrap resamples behind the interval", low=0),
        Column("reason", TEXT, "why there is no score; null where there is one", nullable=True),
    ),
    ordered=(("ci_low", "ci_high"),),
)  # fmt: skip

TUNING = Table(
    "tuning",
    "One row for each setting that was tried for a method before its runs, and each seed. Only `select` rows count.",
    ("task", "model", "method", "trial", "seed"),
    (
        _STUDY, _TASK, _MODEL, _METHOD,
        Column("trial", TEXT, "name of the setting, in the order of the draws"),
        _SEED,
        Column("settings_json", TEXT, "the setting as a study would write it, JSON", json=True),
        Column("status", TEXT, "as in `runs`", values=STATUSES),
        Column("select_metric", TEXT, "metric of the selection"),
        Column("select_score", NUMBER, "score on the selection rows", nullable=True),
        Column("mean_score", NUMBER, "mean over the seeds; null where a seed failed", nullable=True),
        Column("chosen", FLAG, "whether the runs of the method use it"),
        Column("n_trials", INTEGER, "settings tried for the method: its budget, or its whole space", low=1),
    ),
)  # fmt: skip

OVERLAP = Table(
    "overlap",
    "One row for each evaluation set: what of it stands in the task's training rows too.",
    ("task", "eval_set"),
    (
        _TASK, _EVAL_SET, _ROLE,
        Column("train_rows", INTEGER, "rows of the training set", low=0),
        Column("eval_rows", INTEGER, "rows of the evaluation set", low=0),
        Column("exact_rows", INTEGER, "evaluation rows whose text is a training row's", low=0),
        Column("exact_share", NUMBER, "their share", low=0, high=1),
        Column("conflict_rows", INTEGER, "of these, rows whose label differs", nullable=True, low=0),
        Column("pool_rows", INTEGER, "evaluation rows whose text stands in the rehearsal pool of the prior task; null"
               " without one", nullable=True, low=0),
        Column("near_rows", INTEGER, "evaluation rows that are near-duplicates of a training row, exact ones"
               " included; null where not examined", nullable=True, low=0),
        Column("near_share", NUMBER, "their share", nullable=True, low=0, high=1),
        Column("near_rule", TEXT, "what counts as near", nullable=True),
        Column("first_text_rows", INTEGER, "of pairs, rows whose first text (the premise) is that of a training row;"
               " null for single texts, and where not examined", nullable=True, low=0),
    ),
)  # fmt: skip

DUPLICATES = Table(
    "duplicates",
    "One row for each evaluation row that stands, or nearly stands, in the task's training rows. One file a task,"
    " `data/tasks/<task>/duplicates.parquet`; `overlap` counts its rows, and `value_distinct` of `metrics` is without"
    " them.",
    ("task", "eval_set", "uid"),
    (
        _TASK, _EVAL_SET,
        Column("uid", TEXT, "id of the evaluation row"),
        Column("kind", TEXT, "exact: equal but for case and punctuation; near: by `near_rule` of `overlap`",
               values=("exact", "near")),
        Column("train_uid", TEXT, "id of the first training row that it repeats"),
        Column("similarity", NUMBER, "Jaccard similarity of the two rows", low=0, high=1),
    ),
)  # fmt: skip

MISSING = Table(
    "missing",
    "One row for each artifact and stage without a result.",
    ("artifact_id", "stage"),
    (
        Column("artifact_id", TEXT, "run, soup or base artifact, or the cell of a stage before them"),
        Column("stage", TEXT, "stage whose result is absent or failed"),
        Column("reason", TEXT, "why, as the job left it; `not run` where no job left a reason"),
        Column("log", TEXT, "path of the job's log", nullable=True),
    ),
)

PREDICTIONS = Table(
    "predictions",
    "One row for each example of each evaluation set; one file an artifact, no rows if the artifact failed."
    " The file's metadata holds `labels`, the order of the logits, and `prior_labels`, their order on the"
    " prior set, and `batching`, how rows were batched and how much other batches may change a logit."
    " `transfer/<artifact>/predictions.parquet` has the same columns; its sets `adv:<attack>:<artifact>`"
    " hold the texts with which an attack fooled another artifact.",
    ("artifact_id", "eval_set", "uid"),
    (
        Column("artifact_id", TEXT, "run, soup or base artifact: its folder below the study"),
        _EVAL_SET, _ROLE,
        Column("uid", TEXT, "id of the example; equal in every artifact's file"),
        Column("gold", TEXT, "true label, in the set's labels; null for regression", nullable=True),
        Column("pred", TEXT, "predicted label, in the set's labels; null for regression or where the model"
               " gave no valid prediction", nullable=True),
        Column("gold_value", NUMBER, "true score of a regression; of plain text the share of right words that makes"
               " a row right", nullable=True),
        Column("pred_value", NUMBER, "predicted score of a regression; of plain text the share of right words",
               nullable=True),
        Column("logits", pa.list_(SINGLE), "raw outputs in the order of the head's labels; of plain text"
               " summed loss, supervised words, and right ones"),
        Column("loss", SINGLE, "loss of the example where its label is one of the head's", nullable=True),
    ),
)  # fmt: skip

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        RUNS, METRICS, TUNING, COMPARISONS, STANDINGS, SOUPS, SOUP_INGREDIENTS, PATHS, BARRIERS, TASK_VECTORS,
        PRETRAIN_SAMPLES, FORGETTING, REHEARSAL_TRACE, PARETO, OVERLAP, DUPLICATES, ATTACKS, ATTACK_SCORES,
        ATTACK_COMPARISONS, TRANSFER, MISSING, PREDICTIONS, SIMILARITY, SHIFT, TRENDS, ROBUSTNESS, GROUPS,
        PERTURBED_PREDICTIONS, PERTURBATIONS, CALIBRATION, DETECTION, FEATURES, LIKELIHOODS,
    )
}  # fmt: skip


def table(name: str) -> Table:
    """The table of this name, or an `FtbenchError` that suggests one."""
    if name not in TABLES:
        raise FtbenchError(f"unknown table `{name}`. {nearest(name, TABLES)}")
    return TABLES[name]
