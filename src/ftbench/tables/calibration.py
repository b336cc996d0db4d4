"""The table about calibration: errors of probabilities before and after temperature scaling, and the bins behind them.

The stage `score` writes it for every artifact, and `collect` joins them.
"""

from __future__ import annotations

import pyarrow as pa

from ftbench.tables.column import INTEGER, NUMBER, TEXT, Column, Table
from ftbench.tables.recurring import ARTIFACT_KINDS, EVAL_SET, LABEL_RULES, MODEL, ROLE, SOURCE, STUDY, TASK

SCALINGS = ("none", "temperature")
PLACES = ("inside", "lowest", "highest", "flat")

_OWNER = (
    Column("artifact_id", TEXT, "run, soup, ensemble or base artifact: its folder below the study"),
    EVAL_SET,
    Column("scaling", TEXT, "none: probabilities as predicted; temperature: logits divided by the artifact's"
           " temperature first", values=SCALINGS),
)  # fmt: skip
_ORIGIN = (
    STUDY, TASK, MODEL,
    Column("artifact_kind", TEXT, "what was scored", values=ARTIFACT_KINDS),
    *SOURCE,
    ROLE,
)  # fmt: skip


def _error(name: str, about: str, high: float | None = 1) -> Column:
    return Column(name, NUMBER, about, nullable=True, low=0, high=high)


CALIBRATION = Table(
    "calibration",
    "Two rows for each artifact and labelled evaluation set: calibration before and after temperature scaling. An"
    " artifact has one temperature, fitted on its `select` rows alone; on these the second row is that of the fit."
    " Predicted labels are those of the raw outputs in both rows.",
    ("artifact_id", "eval_set", "scaling"),
    (
        *_OWNER, *_ORIGIN,
        Column("temperature", NUMBER, "what logits were divided by; 1 without scaling; null where none could be fitted",
               nullable=True, low=0),
        Column("temperature_at", TEXT, "lowest, highest: the end of the searched range, exp(-3) to exp(3), where the"
               " loss still falls (lowest: every selection row is right, or nearly so); flat: any temperature fits"
               " alike and 1 is kept; null without scaling", nullable=True, values=PLACES),
        Column("n_select", INTEGER, "selection rows behind the temperature; null without scaling", nullable=True,
               low=0),
        Column("n", INTEGER, "examples", low=1),
        _error("accuracy", "share of right labels; equal in both rows of a set"),
        _error("confidence", "mean probability of the predicted label"),
        Column("overconfidence", NUMBER, "confidence minus accuracy", nullable=True, low=-1, high=1),
        _error("ece", "expected calibration error, 15 bins of equal width"),
        _error("ece_low", "lower end of its 95 % bootstrap interval over examples; shares the bias of small sets"),
        _error("ece_high", "upper end of that interval; says nothing about seeds"),
        Column("bin_n", pa.list_(INTEGER), "examples in each of the 15 bins of equal width behind `ece`, from (0, 1/15]"
               " to (14/15, 1] of confidence: what a reliability diagram shows; null where the confidence is unknown",
               nullable=True, low=0),
        Column("bin_confidence", pa.list_(NUMBER), "their mean confidence; null in a bin without examples",
               nullable=True, low=0, high=1),
        Column("bin_accuracy", pa.list_(NUMBER), "share of them that is right; null in a bin without examples",
               nullable=True, low=0, high=1),
        _error("ece_mass", "the same with 15 bins of equal mass"),
        _error("mce", "largest error of the filled bins of equal width"),
        _error("brier", "squared distance of the probabilities from the true label, summed over labels", 2),
        _error("nll", "negative log-likelihood of the true label, nats, probabilities clipped at 1e-12", None),
        Column("changed", INTEGER, "rows that would get another label at this temperature: none, except where the label"
               " map adds probabilities up (`sum_then_argmax`)", nullable=True, low=0),
        Column("label_map", TEXT, "as in `metrics`", nullable=True, values=LABEL_RULES),
        Column("resamples", INTEGER, "bootstrap resamples behind the interval", low=0),
        Column("reason", TEXT, "why numbers are null", nullable=True),
    ),
    ordered=(("ece_low", "ece_high"),),
)  # fmt: skip
