"""The tables on robustness: how shifted scores follow in-domain ones, what is beyond that, and the worst groups."""

from __future__ import annotations

import pyarrow as pa

from ftbench.tables.column import FLAG, INTEGER, NUMBER, TEXT, Column, Table
from ftbench.tables.recurring import EVAL_SET, METHOD, METRIC, MODEL, ROLE, STUDY, TASK, VARIANT

KINDS = ("I", "II", "III", "undetermined")
STATES = ("ok", "not_applicable")

TRENDS = Table(
    "trends",
    "One row for each shifted or stress set: how scores on it follow in-domain scores over the runs of the family.",
    ("task", "eval_set"),
    (
        STUDY, TASK, EVAL_SET, ROLE, METRIC,
        Column("family", pa.list_(TEXT), "methods and variants whose runs, of all seeds and models, are the points"),
        Column("n_points", INTEGER, "runs with scores on this set and in domain", low=0),
        Column("id_low", NUMBER, "lowest in-domain score of the family, mean over in-domain sets", nullable=True),
        Column("id_high", NUMBER, "highest", nullable=True),
        Column("kind", TEXT, "I: one rising line; II: two rising segments, the second steeper; III: first falling, then"
               " rising; undetermined: none of these is shown", values=KINDS),
        Column("reason", TEXT, "why undetermined", nullable=True),
        Column("slope", NUMBER, "of the line, or of the first segment: points under shift for a point in domain",
               nullable=True),
        Column("slope_low", NUMBER, "lower end of its 95 % bootstrap interval over runs", nullable=True),
        Column("slope_high", NUMBER, "upper end of that interval", nullable=True),
        Column("second_slope", NUMBER, "of the second segment; null for a line", nullable=True),
        Column("second_low", NUMBER, "lower end of its interval", nullable=True),
        Column("second_high", NUMBER, "upper end of that interval", nullable=True),
        Column("knee", NUMBER, "in-domain score at which the segments meet", nullable=True),
        Column("bic_gain", NUMBER, "BIC of the line minus BIC of the segments; segments are believed above 6",
               nullable=True),
        Column("logit_intercept", NUMBER, "a of logit(shifted) = a + b logit(in domain)", nullable=True),
        Column("logit_slope", NUMBER, "b", nullable=True),
        Column("logit_r_squared", NUMBER, "share of variance that this line explains", nullable=True, high=1),
        Column("effective", TEXT, "whether the line says what to expect of a model", values=STATES),
        Column("effective_reason", TEXT, "why it does not", nullable=True),
    ),
    ordered=(("id_low", "id_high"), ("slope_low", "slope_high"), ("second_low", "second_high")),
)  # fmt: skip

ROBUSTNESS = Table(
    "robustness",
    "One row for each method, variant, model and set: relative and effective robustness, and the worst group.",
    ("task", "model", "method", "variant", "eval_set"),
    (
        STUDY, TASK, MODEL, METHOD, VARIANT, EVAL_SET, ROLE, METRIC,
        Column("n_runs", INTEGER, "runs with scores on this set and in domain", low=0),
        Column("id_value", NUMBER, "their mean in domain; null unless every seed has one", nullable=True),
        Column("value", NUMBER, "their mean on this set; null unless every seed has one", nullable=True),
        Column("relative", NUMBER, "relative robustness: mean score minus that of the baseline, over the seeds that"
               " both have; higher is better whatever the metric", nullable=True),
        Column("relative_low", NUMBER, "lower end of its 95 % interval, bootstrap of seeds and examples",
               nullable=True),
        Column("relative_high", NUMBER, "upper end of that interval", nullable=True),
        Column("effective", NUMBER, "effective robustness: mean score minus what the family's line expects at the same"
               " in-domain score", nullable=True),
        Column("effective_low", NUMBER, "lower end of its 95 % interval, bootstrap of the family, of the runs and of"
               " examples", nullable=True),
        Column("effective_high", NUMBER, "upper end of that interval", nullable=True),
        Column("effective_state", TEXT, "whether there is such an expectation; the reason is in `trends`",
               values=STATES),
        Column("extrapolated", FLAG, "whether a run's in-domain score lies outside the family's", nullable=True),
        Column("examples", FLAG, "whether examples were resampled too; else predictions were not there"),
        Column("worst_set", FLAG, "whether this is the shifted or stress set with the lowest mean of the method"),
        Column("worst_group", TEXT, "group of rows with the lowest share of right answers, as `groups` names it",
               nullable=True),
        Column("worst_group_value", NUMBER, "its mean share of right answers", nullable=True, low=0, high=1),
    ),
    ordered=(("relative_low", "relative_high"), ("effective_low", "effective_high")),
)  # fmt: skip

GROUPS = Table(
    "groups",
    "One row for each method, set and group of its rows: the share of right answers in the group. Classification only.",
    ("task", "model", "method", "variant", "eval_set", "scheme", "group"),
    (
        STUDY, TASK, MODEL, METHOD, VARIANT, EVAL_SET, ROLE,
        Column("scheme", TEXT, "what the rows are grouped by: label, or a further column of the data set"),
        Column("group", TEXT, "value of that column"),
        Column("n", INTEGER, "rows of the group", low=1),
        Column("n_runs", INTEGER, "runs behind the mean", low=1),
        Column("accuracy", NUMBER, "share of right answers, mean over the runs", low=0, high=1),
        Column("worst", FLAG, "whether it is the lowest of the set and scheme among groups of at least 10 rows"),
    ),
)  # fmt: skip
