"""Entity precision: right / predicted, over all entities of all rows together.

An entity is right if its type, first and last word are those of a gold one. Where none is predicted it is 0, as
CoNLL-2000's evaluation has it.
"""

from __future__ import annotations

from ftbench.metrics.entities import EntityMetric


class EntityPrecision(EntityMetric):
    name = "entity_precision"
    summary = "share of predicted entities that are right, all types together"
    weights = (1.0, 0.0)
