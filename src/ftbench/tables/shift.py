"""The tables on shift: how far sets are from training, and what the baseline loses on them."""

from __future__ import annotations

import pyarrow as pa

from ftbench.tables.column import INTEGER, NUMBER, TEXT, Column, Table
from ftbench.tables.recurring import EVAL_SET, METRIC, MODEL, ROLE, STUDY, TASK

FLAGS = ("no_challenge", "unclear_loss", "overlaps_training")

MEASURES = (
    Column("centroid_cosine", NUMBER, "cosine of the mean embeddings of distinct texts, of the set and of the training"
           " rows; a text's embedding is the mean of the encoder's last layer over its tokens", nullable=True,
           low=-1, high=1),
    Column("domain_auroc", NUMBER, "how well a logistic regression on the embeddings tells the set from the training"
           " rows, on rows it has not seen: 0.5 not at all, 1 always; mean of five folds", nullable=True,
           low=0, high=1),
    Column("oov_share", NUMBER, "share of the set's words that no training row has, case and punctuation aside",
           nullable=True, low=0, high=1),
    Column("word_divergence", NUMBER, "Jensen-Shannon divergence of the two distributions of words, base 2: 0 equal, 1"
           " nothing in common; biased upward in small sets", nullable=True, low=0, high=1),
    Column("train_words", NUMBER, "mean words of a training row", nullable=True, low=0),
    Column("words", NUMBER, "mean words of a row of the set", nullable=True, low=0),
    Column("length_distance", NUMBER, "largest difference of the two distribution functions of words a row"
           " (Kolmogorov-Smirnov)", nullable=True, low=0, high=1),
    Column("label_distance", NUMBER, "total variation between the shares of labels, training labels read in the set's;"
           " null for scores and prior sets", nullable=True, low=0, high=1),
)  # fmt: skip

SIMILARITY = Table(
    "similarity",
    "One row for each evaluation set: how far it is from the task's training rows. The set `select`, cut from training,"
    " shows what no shift looks like.",
    ("task", "eval_set"),
    (
        TASK, EVAL_SET, ROLE,
        Column("encoder", TEXT, "model entry whose embeddings are compared"),
        Column("embedded_rows", INTEGER, "texts of the set that were embedded", low=0),
        Column("distinct_rows", INTEGER, "distinct texts of the set", low=0),
        *MEASURES,
    ),
)  # fmt: skip

SHIFT = Table(
    "shift",
    "One row for each evaluation set and model: its distance from the training rows, what the baseline loses on it,"
    " and what a reader should know of it.",
    ("task", "model", "eval_set"),
    (
        STUDY, TASK, MODEL, EVAL_SET, ROLE,
        Column("encoder", TEXT, "as in `similarity`; null where that is missing", nullable=True),
        *MEASURES,
        Column("near_share", NUMBER, "as in `overlap`", nullable=True, low=0, high=1),
        Column("baseline", TEXT, "method whose loss is shown; null where the study names none", nullable=True),
        Column("baseline_variant", TEXT, "its variant", nullable=True),
        Column(METRIC.name, TEXT, "leading metric; null where the baseline has no scores", nullable=True),
        Column("id_value", NUMBER, "mean of the baseline over in-domain sets and seeds; null while one is missing",
               nullable=True),
        Column("value", NUMBER, "the same on this set", nullable=True),
        Column("drop", NUMBER, "mean loss against the in-domain sets over the seeds that have both, such that more is"
               " worse; null in domain and on prior and selection sets", nullable=True),
        Column("drop_low", NUMBER, "lower end of its 95 % t interval over seeds", nullable=True),
        Column("drop_high", NUMBER, "upper end of that interval", nullable=True),
        Column("n_seeds", INTEGER, "seeds behind the drop", nullable=True, low=0),
        Column("flags", pa.list_(TEXT), "no_challenge: the baseline loses nothing on a shifted or stress set;"
               " unclear_loss: its loss is above zero and the interval reaches zero, or there is one seed;"
               " overlaps_training: more than 1 % of the set stands or nearly stands in the training rows"),
    ),
    ordered=(("drop_low", "drop_high"),),
)  # fmt: skip
