"""Scores of the same examples at several strengths of an edit, resampled together: curves, drops and their area.

The stage `score_perturbed` calls it with arrays. Strengths and seeds of an edit share each bootstrap sample, so the
interval of a drop is that of a paired difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Curve:
    """Scores by strength, the first one at strength 0: (strengths,), and of bootstrap samples: (resamples, strengths).

    Each is a mean over the seeds of the edit.
    """

    strengths: NDArray[np.float64]
    scores: NDArray[np.float64]
    samples: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Area under the curve by trapezoids, over the highest strength: the mean height, in the unit of the score."""
        return float(mean_height(self.strengths, self.scores))

    @property
    def area_samples(self) -> NDArray[np.float64]:
        """The same of each bootstrap sample: (resamples,)."""
        return mean_height(self.strengths, self.samples)


def mean_height(strengths: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """int_0^S f(s) ds / S of a curve with straight pieces; strengths ascend from 0 to S; scores: (..., strengths)."""
    import numpy as np

    width = np.diff(strengths)
    return np.asarray(((scores[..., 1:] + scores[..., :-1]) / 2 * width).sum(axis=-1) / strengths[-1])
