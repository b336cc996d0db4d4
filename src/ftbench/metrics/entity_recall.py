"""Entity recall: right / gold, over all entities of all rows together.

An entity is right if its type, first and last word are those of a gold one. Without a gold entity it is 0, as
CoNLL-2000's evaluation has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.metrics.entities import EntityMetric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EntityRecall(EntityMetric):
    name = "entity_recall"
    summary = "share of gold entities that are found, all types together"

    def ratio(
        self, right: NDArray[np.float64], predicted: NDArray[np.float64], gold: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return right, gold
