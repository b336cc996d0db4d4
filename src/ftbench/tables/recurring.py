"""Columns and value lists that stand in several tables with one meaning; the schemas are made of them."""

from __future__ import annotations

from ftbench.tables.column import FLAG, INTEGER, TEXT, TIME, Column

ROLES = ("id", "ood", "stress", "prior", "select", "adversarial")
ARTIFACT_KINDS = ("base", "run", "soup", "ensemble")
STATUSES = ("success", "failed", "collapsed", "missing")
UNITS = ("fraction", "number")
LABEL_RULES = ("identity", "argmax_then_merge", "sum_then_argmax")

# Columns that stand in several tables with one meaning.
STUDY = Column("study", TEXT, "name of the study")
TASK = Column("task", TEXT, "task of the study")
MODEL = Column("model", TEXT, "model entry")
METHOD = Column("method", TEXT, "method, by the name it has in the study")
VARIANT = Column("variant", TEXT, "variant of the method; `default` where none is named")
SEED = Column("seed", INTEGER, "seed of the run; equal seeds are paired across methods", low=0)
MIXED = (
    Column("method", TEXT, "method of the runs; null where they are of several", nullable=True),
    Column("variant", TEXT, "variant of the method; null where the runs are of several", nullable=True),
)
SOURCE = (
    Column("method", TEXT, "method; null where there is none or several", nullable=True),
    Column("variant", TEXT, "variant of the method", nullable=True),
    Column("seed", INTEGER, "seed of a run; null for others", nullable=True, low=0),
)
EVAL_SET = Column("eval_set", TEXT, "name of the evaluation set")
ROLE = Column(
    "role",
    TEXT,
    "what the set is for: in-domain, shifted, stress, prior task, selection, texts of an attack on another artifact",
    values=ROLES,
)
METRIC = Column("metric", TEXT, "name of the metric plug-in")
PROVENANCE = (
    Column("checkpoint_bytes", INTEGER, "size of what must be shipped, in bytes", nullable=True, low=0),
    Column("checkpoint_sha256", TEXT, "sha256 of the weights file", nullable=True),
    Column("code_fingerprint", TEXT, "source fingerprint of the stage and its plug-ins", nullable=True),
    Column(
        "accepted",
        TEXT,
        "source changes since that fingerprint that were accepted as without effect, with their reasons; null: none",
        nullable=True,
        json=True,
    ),
    Column("git_commit", TEXT, "commit that the job ran from", nullable=True),
    Column("git_dirty", FLAG, "whether that commit's files had been edited", nullable=True),
    Column("versions", TEXT, "versions of the packages used, JSON", nullable=True, json=True),
    Column("started_at", TIME, "start, UTC", nullable=True),
    Column("ended_at", TIME, "end, UTC", nullable=True),
)
