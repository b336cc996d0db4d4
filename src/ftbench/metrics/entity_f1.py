"""Entity F1: 2 right / (predicted + gold), over all entities of all rows together.

An entity is right if its type, first and last word are those of a gold one. Without any entity it is 0, as CoNLL-2000's
evaluation has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.metrics.entities import EntityMetric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EntityF1(EntityMetric):
    name = "entity_f1"
    summary = "F1 of whole entities in tag sequences, all types together"

    def ratio(
        self, right: NDArray[np.float64], predicted: NDArray[np.float64], gold: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return 2 * right, predicted + gold
