"""Columns that stand in several tables with one meaning, and the words that some of them may hold."""

from __future__ import annotations

from ftbench.tables.column import INTEGER, TEXT, Column

ROLES = ("id", "ood", "stress", "prior", "select")
ARTIFACT_KINDS = ("base", "run", "soup", "ensemble")

STUDY = Column("study", TEXT, "name of the study")
TASK = Column("task", TEXT, "task of the study")
MODEL = Column("model", TEXT, "model entry")
METHOD = Column("method", TEXT, "method, by the name it has in the study")
VARIANT = Column("variant", TEXT, "variant of the method; `default` where none is named")
SEED = Column("seed", INTEGER, "seed of the run; equal seeds are paired across methods", low=0)
EVAL_SET = Column("eval_set", TEXT, "name of the evaluation set")
ROLE = Column("role", TEXT, "what the set is for: in-domain, shifted, stress, prior task, selection", values=ROLES)
METRIC = Column("metric", TEXT, "name of the metric plug-in")
