"""The tables about prior tasks: what was known before, what was damaged, what was rehearsed, and at what price.

`tables/schema.py` lists them with the others.
"""

from __future__ import annotations

import pyarrow as pa

from ftbench.tables.column import FLAG, INTEGER, NUMBER, SINGLE, TEXT, Column, Table
from ftbench.tables.recurring import ARTIFACT_KINDS, METHOD, MIXED, MODEL, SEED, STUDY, TASK, VARIANT

PRETRAIN_SAMPLES = Table(
    "pretrain_samples",
    "One row for each sample of the prior task, as the model sees it before fine-tuning.",
    ("model", "prior_set", "uid"),
    (
        MODEL,
        Column("prior_set", TEXT, "name of the prior task"),
        Column("uid", TEXT, "id of the row"),
        Column("base_id", TEXT, "hash of the weights that judged"),
        Column("role", TEXT, "whether the row may be rehearsed or is only ever evaluated",
               values=("rehearsal_pool", "prior_eval")),
        Column("text_hash", TEXT, "hash of the text, by which repeated texts were left out"),
        Column("label", TEXT, "label of the row; null for regression and plain text", nullable=True),
        Column("value", NUMBER, "score of the row; null for classification and plain text", nullable=True),
        Column("aux", TEXT, "other columns of the source that the entry names, JSON", nullable=True, json=True),
        Column("prior_pred", TEXT, "predicted label", nullable=True),
        Column("prior_pred_value", NUMBER, "predicted score of a regression", nullable=True),
        Column("prior_correct", FLAG, "whether the prediction is right: the label, a score within the tolerance,"
               " or enough of the supervised words"),
        Column("prior_loss", SINGLE, "-log p of the label, squared error, or mean loss of the supervised words",
               low=0),
        Column("prior_p_true", SINGLE, "probability of the label", nullable=True, low=0, high=1),
        Column("prior_margin", SINGLE, "highest minus second highest probability", nullable=True, low=0, high=1),
        Column("prior_entropy", SINGLE, "entropy of the probabilities, nats", nullable=True, low=0),
        Column("prior_energy", SINGLE, "-logsumexp of the logits", nullable=True),
        Column("prior_grad_norm_head", SINGLE, "norm of the loss's gradient with respect to the last layer's"
               " weight; null where that layer is not linear", nullable=True, low=0),
        Column("prior_logits", pa.list_(SINGLE), "raw outputs in the order of the prior task's labels",
               nullable=True),
        Column("n_tokens", INTEGER, "tokens of the row as the model reads it", low=0),
        Column("n_chars", INTEGER, "characters of the row's text", low=0),
        Column("loss_bin", INTEGER, "tenth of the pool by prior loss, from 0 for the lowest", low=0),
        Column("cluster", INTEGER, "cluster of the pooled features, where the study asks for clusters",
               nullable=True, low=0),
        Column("lm_loss_sum", SINGLE, "summed loss of the supervised words of a language model", nullable=True,
               low=0),
        Column("lm_tokens", INTEGER, "their number", nullable=True, low=0),
    ),
)  # fmt: skip

_PRIOR_SET = Column("prior_set", TEXT, "name of the prior task")
_DAMAGE = Column("collateral_damage", NUMBER, "share of the rows that were right before and are wrong now",
                 nullable=True, low=0, high=1)  # fmt: skip
_FORGOTTEN = Column("forget_rate", NUMBER, "the same as a share of the rows that were right before; null where none"
                    " was", nullable=True, low=0, high=1)  # fmt: skip
_TRANSFER = Column("positive_transfer", NUMBER, "share of the rows that were wrong before and are right now",
                   nullable=True, low=0, high=1)  # fmt: skip

FORGETTING = Table(
    "forgetting",
    "One row for each run or soup and bin of the prior evaluation rows: what of the prior task it lost and gained."
    " `after - before = positive_transfer - collateral_damage` in every row.",
    ("artifact_id", "prior_set", "scheme", "bin"),
    (
        Column("artifact_id", TEXT, "run or soup: its folder below the study"),
        _PRIOR_SET,
        Column("scheme", TEXT, "how rows are divided: `all` (one bin), `loss` (tenths of the pool's prior loss),"
               " `label`, `length`, `cluster`, or a column that the data set's entry keeps"),
        Column("bin", TEXT, "which part of them"),
        STUDY, TASK, MODEL,
        Column("artifact_kind", TEXT, "what was scored", values=ARTIFACT_KINDS),
        *MIXED,
        Column("seed", INTEGER, "seed of a run; null for soups", nullable=True, low=0),
        Column("n", INTEGER, "rows of the bin", low=1),
        Column("before", NUMBER, "share of right rows before fine-tuning", low=0, high=1),
        Column("after", NUMBER, "share of right rows now", low=0, high=1),
        _DAMAGE, _FORGOTTEN, _TRANSFER,
        Column("loss_before", NUMBER, "mean loss before fine-tuning", nullable=True, low=0),
        Column("loss_after", NUMBER, "mean loss now", nullable=True, low=0),
    ),
)  # fmt: skip

REHEARSAL_TRACE = Table(
    "rehearsal_trace",
    "One row for each bin every few steps of a run that rehearses.",
    ("run_id", "step", "bin"),
    (
        Column("run_id", TEXT, "the run"),
        STUDY, TASK, MODEL, METHOD, VARIANT, SEED,
        Column("step", INTEGER, "optimiser step, over all phases", low=1),
        Column("bin", TEXT, "bin of the pool"),
        Column("draws", INTEGER, "rows of the bin rehearsed since the row before", low=0),
        Column("damaged", INTEGER, "of these, rows that were right before and were found wrong", low=0),
        Column("alpha_hat", NUMBER, "damage rate that the sampler believes in; null for samplers without one",
               nullable=True, low=0, high=1),
        Column("q", NUMBER, "probability of the bin at the next draw; null where there is no fixed one",
               nullable=True, low=0, high=1),
    ),
)  # fmt: skip

PARETO = Table(
    "pareto",
    "One row for each method and variant: new task against prior task, means over the seeds.",
    ("task", "model", "method", "variant"),
    (
        STUDY, TASK, MODEL, METHOD, VARIANT,
        Column("new_metric", TEXT, "metric of the new task: its first, over the in-domain sets"),
        Column("new_value", NUMBER, "its mean; null unless every seed has a score", nullable=True),
        Column("prior_metric", TEXT, "metric of the prior task"),
        Column("prior_value", NUMBER, "its mean after fine-tuning; null unless every seed has a score", nullable=True),
        Column("prior_before", NUMBER, "the same of the model before fine-tuning", nullable=True),
        _DAMAGE, _FORGOTTEN, _TRANSFER,
        Column("charged_rows", NUMBER, "training rows that a run costs, as in `runs`; compare methods at equal ones",
               nullable=True, low=0),
        Column("on_front", FLAG, "whether no other method or variant is better at one and no worse at the other;"
               " null without both values", nullable=True),
        Column("matched_at", NUMBER, "the baseline's new value, at which methods are compared", nullable=True),
        Column("prior_at_match", NUMBER, "prior value there, on the straight lines between the method's own variants;"
               " null where they do not reach on both sides", nullable=True),
        Column("reference_new", NUMBER, "reference of the hypervolume: the commonest answer's score on the new task",
               nullable=True),
        Column("reference_prior", NUMBER, "and the baseline's prior value", nullable=True),
        Column("hypervolume", NUMBER, "area above the reference that the method's variants dominate", nullable=True,
               low=0),
    ),
)  # fmt: skip
