"""Tables of perturbations: predictions of edited texts, and scores by strength."""

from __future__ import annotations

import pyarrow as pa

from ftbench.tables.column import FLAG, INTEGER, NUMBER, SINGLE, TEXT, Column, Table
from ftbench.tables.recurring import EVAL_SET, METRIC, MODEL, ROLE, STUDY, TASK, UNITS

_PERTURBATION = Column("perturbation", TEXT, "perturbation, by the name it has in the study")
_STRENGTH = Column(
    "strength", NUMBER, "rate of the edits, of what the plug-in says; 0: the texts themselves", low=0, high=1
)

PERTURBED_PREDICTIONS = Table(
    "perturbed_predictions",
    "One row for each edited text: `perturbed.parquet` of an artifact. The file's metadata holds `labels`, the order of"
    " the logits. The rows as they are stand in it too, with an empty `perturbation` and strength 0.",
    ("artifact_id", "perturbation", "eval_set", "seed", "strength", "uid"),
    (
        Column("artifact_id", TEXT, "run or soup: its folder below the study"),
        _PERTURBATION, EVAL_SET,
        Column("seed", INTEGER, "seed of the edits, not of the run", low=0),
        _STRENGTH,
        Column("uid", TEXT, "id of the example that was edited; equal in every artifact's file"),
        Column("changed", FLAG, "whether the edit changed the text"),
        Column("gold", TEXT, "true label before the edit, in the set's labels; null for regression", nullable=True),
        Column("gold_value", NUMBER, "true score of a regression", nullable=True),
        Column("logits", pa.list_(SINGLE), "raw outputs in the order of the head's labels"),
    ),
)  # fmt: skip

PERTURBATIONS = Table(
    "perturbations",
    "One row for each artifact, set, perturbation and strength: the leading metric on edited texts beside that of the"
    " same rows unedited. Scores are means over the seeds of the edits; intervals are over examples and paired.",
    ("artifact_id", "eval_set", "perturbation", "strength"),
    (
        Column("artifact_id", TEXT, "run or soup: its folder below the study"),
        EVAL_SET, _PERTURBATION, _STRENGTH, STUDY, TASK, MODEL,
        Column("artifact_kind", TEXT, "what was scored", values=("run", "soup")),
        Column("method", TEXT, "method; null where the runs of a soup are of several", nullable=True),
        Column("variant", TEXT, "variant of the method; null as there", nullable=True),
        Column("seed", INTEGER, "seed of a run; null for soups", nullable=True, low=0),
        ROLE,
        Column("plugin", TEXT, "perturbation plug-in"),
        Column("seeds", pa.list_(INTEGER), "seeds of the edits"),
        Column("n", INTEGER, "examples, each edited once a seed", low=1),
        Column("changed_share", NUMBER, "share of the edited texts that differ from the text itself", low=0, high=1),
        METRIC,
        Column("value", NUMBER, "score; null where undefined, and where an edit leaves no true label", nullable=True),
        Column("ci_low", NUMBER, "lower end of the 95 % bootstrap interval over examples", nullable=True),
        Column("ci_high", NUMBER, "upper end of that interval", nullable=True),
        Column("clean_value", NUMBER, "score of the same rows unedited", nullable=True),
        Column("drop", NUMBER, "how much worse than unedited; positive is worse, whatever the metric", nullable=True),
        Column("drop_low", NUMBER, "lower end of its paired 95 % interval", nullable=True),
        Column("drop_high", NUMBER, "upper end of that interval", nullable=True),
        Column("area", NUMBER, "area under the curve of the score, from strength 0 to the highest, over the highest:"
               " its mean height; the same on every row of a curve", nullable=True),
        Column("area_low", NUMBER, "lower end of its 95 % interval", nullable=True),
        Column("area_high", NUMBER, "upper end of that interval", nullable=True),
        Column("expectation", TEXT, "what must happen: the answer stays, or a probability must not fall (up) or rise"
               " (down)", values=("same", "up", "down")),
        Column("expected_label", TEXT, "label that is meant; null: the one predicted unedited", nullable=True),
        Column("invariance_failure_rate", NUMBER, "of the changed texts: share with another predicted label, or whose"
               " probability moved by more than `tolerance`; null where none changed, where another answer is expected,"
               " and for regression", nullable=True, low=0, high=1),
        Column("direction_failure_rate", NUMBER, "of the changed texts: share where the probability moved against the"
               " expectation by more than `tolerance`; null as above", nullable=True, low=0, high=1),
        Column("tolerance", NUMBER, "how far a probability may move", low=0, high=1),
        Column("higher_is_better", FLAG, "direction of the metric"),
        Column("unit", TEXT, "fraction: shown in percent by reports", values=UNITS),
        Column("resamples", INTEGER, "bootstrap resamples behind the intervals", low=0),
    ),
    ordered=(("ci_low", "ci_high"), ("drop_low", "drop_high"), ("area_low", "area_high")),
)  # fmt: skip
