"""Entity F1: 2 right / (predicted + gold), over all entities of all rows together.

An entity is right if its type, first and last word are those of a gold one. Without any entity it is 0, as CoNLL-2000's
evaluation has it.
"""

from __future__ import annotations

from ftbench.metrics.entities import EntityMetric


class EntityF1(EntityMetric):
    name = "entity_f1"
    summary = "F1 of whole entities in tag sequences, all types together"
    weights = (0.5, 0.5)
