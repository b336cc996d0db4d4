"""Entity recall: right / gold, over all entities of all rows together.

An entity is right if its type, first and last word are those of a gold one. Without a gold entity it is 0, as
CoNLL-2000's evaluation has it.
"""

from __future__ import annotations

from ftbench.metrics.entities import EntityMetric


class EntityRecall(EntityMetric):
    name = "entity_recall"
    summary = "share of gold entities that are found, all types together"
    weights = (0.0, 1.0)
