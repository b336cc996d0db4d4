"""The tables about telling rows from outside the task: measures of artifacts, and the features behind them."""

from __future__ import annotations

import pyarrow as pa

from ftbench.tables.column import INTEGER, NUMBER, SINGLE, TEXT, Column, Table
from ftbench.tables.recurring import MODEL, SOURCE, STUDY, TASK

_ARTIFACT = Column("artifact_id", TEXT, "run, soup or ensemble: its folder below the study")

DETECTION = Table(
    "detection",
    "One row for each artifact, outside set and score of `detection`. Every score is high for rows from outside, which"
    " are the positive class; `aupr_in` alone turns both round.",
    ("artifact_id", "ood_set", "score"),
    (
        Column("artifact_id", TEXT, "run, soup or ensemble, or `likelihood/TASK/MODEL` for a language model"),
        STUDY, TASK, MODEL,
        Column("artifact_kind", TEXT, "what gave the scores",
               values=("run", "soup", "ensemble", "language_model")),
        *SOURCE,
        Column("id_set", TEXT, "set that stands for the task"),
        Column("ood_set", TEXT, "set that stands for the outside"),
        Column("score", TEXT, "name of the score"),
        Column("positive", TEXT, "the positive class of `auroc`, `aupr_out` and `fpr95`", values=("ood",)),
        Column("auroc", NUMBER, "area under the ROC curve; null where undefined, see `reason`", nullable=True,
               low=0, high=1),
        Column("auroc_low", NUMBER, "lower end of its 95 % bootstrap interval over rows", nullable=True, low=0, high=1),
        Column("auroc_high", NUMBER, "upper end", nullable=True, low=0, high=1),
        Column("aupr_out", NUMBER, "average precision, outside rows positive; depends on n_ood : n_id", nullable=True,
               low=0, high=1),
        Column("aupr_in", NUMBER, "average precision, the task's rows positive, sign of the score turned",
               nullable=True, low=0, high=1),
        Column("aupr_out_trapezoid", NUMBER, "area by the trapezoid rule instead", nullable=True, low=0, high=1),
        Column("aupr_in_trapezoid", NUMBER, "area by the trapezoid rule instead", nullable=True, low=0, high=1),
        Column("fpr95", NUMBER, "smallest share of the task's rows flagged where 95 % of the outside rows are",
               nullable=True, low=0, high=1),
        Column("fpr95_in", NUMBER, "the other convention: share of outside rows kept where 95 % of the task's are",
               nullable=True, low=0, high=1),
        Column("threshold", NUMBER, "score that the asked share of `select` rows does not exceed", nullable=True),
        Column("id_flagged", NUMBER, "share of the task's rows above the threshold", nullable=True, low=0, high=1),
        Column("ood_flagged", NUMBER, "share of the outside rows above it", nullable=True, low=0, high=1),
        Column("n_id", INTEGER, "rows of the task's set", low=0),
        Column("n_ood", INTEGER, "rows of the outside set", low=0),
        Column("n_select", INTEGER, "selection rows behind the threshold", low=0),
        Column("n_train", INTEGER, "training rows behind the score; null for scores that need none", nullable=True,
               low=0),
        Column("neighbours", INTEGER, "K of `knn`", nullable=True, low=1),
        Column("forward_rows", INTEGER, "rows that were passed forward for the score, by both language models; null for"
               " scores of stored outputs", nullable=True, low=0),
        Column("seconds", NUMBER, "what that took; the training of the adapted one is in its record, `adapted.json`",
               nullable=True, low=0),
        Column("resamples", INTEGER, "bootstrap resamples behind the interval", low=0),
        Column("reason", TEXT, "why there are no measures", nullable=True),
    ),
    ordered=(("auroc_low", "auroc_high"),),
)  # fmt: skip

FEATURES = Table(
    "features",
    "One row for each row of the sets of `detection`: what the artifact's last layer reads. One file an artifact; not"
    " collected.",
    ("artifact_id", "eval_set", "uid"),
    (
        _ARTIFACT,
        Column("eval_set", TEXT, "name of the set; `train` for training rows"),
        Column("uid", TEXT, "id of the row"),
        Column("label", TEXT, "true label of a training row", nullable=True),
        Column("feature", pa.list_(SINGLE), "input of the last linear layer, dropout off"),
    ),
)

LIKELIHOODS = Table(
    "likelihoods",
    "One row for each row of the sets of `detection`: what the pretrained and the adapted language model say of its"
    " text. One file a task and model; not collected.",
    ("artifact_id", "eval_set", "uid"),
    (
        Column("artifact_id", TEXT, "`likelihood/TASK/MODEL`"),
        Column("eval_set", TEXT, "name of the set"),
        Column("uid", TEXT, "id of the row"),
        Column("tokens", INTEGER, "tokens that the sums are over", low=0),
        Column("pretrained", NUMBER, "summed log p of these tokens under the pretrained model, nats; of a masked model"
               " the pseudo-log-likelihood", high=0),
        Column("adapted", NUMBER, "the same under the model that was trained on the task's texts", high=0),
    ),
)  # fmt: skip
