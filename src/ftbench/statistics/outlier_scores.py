"""Scores of rows from what a classifier gave: high for rows that seem to come from outside the task.

The stage `detect` computes them from stored logits and features, without a model. Every function returns (rows,) and
draws nothing at random.

MSP: Hendrycks and Gimpel (2017). Max logit: Hendrycks et al. (2022). Energy: Liu et al. (2020). Mahalanobis: Lee et al.
(2018). Relative Mahalanobis: Ren et al. (2021). kNN: Sun et al. (2022).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RIDGE = 1e-6  # added to a covariance's diagonal, as a share of its mean entry there
_BLOCK = 2_000_000  # distances held at a time


def from_logits(name: str, logits: NDArray[np.float64], temperature: float = 1.0) -> NDArray[np.float64]:
    """`msp` 1 - max p, `max_logit` -max z, `energy` -T logsumexp(z / T), `entropy` H(p); logits: (rows, labels)."""
    import numpy as np
    from scipy.special import logsumexp

    if name == "max_logit":
        return np.asarray(-logits.max(axis=1))
    if name == "energy":
        return np.asarray(-temperature * logsumexp(logits / temperature, axis=1))
    logarithms = logits - logsumexp(logits, axis=1, keepdims=True)
    if name == "msp":
        # the sum of the others, which stays exact where 1 - max p would round to 0
        others = np.exp(logarithms)
        others[np.arange(len(others)), logits.argmax(axis=1)] = 0.0
        return np.asarray(others.sum(axis=1))
    if name == "entropy":
        return np.asarray(-(np.exp(logarithms) * logarithms).sum(axis=1))
    raise ValueError(f"no score of logits is named {name}")


class Gaussians:
    """Gaussians around the labels of training features, with one covariance; and one Gaussian around all of them.

    `mahalanobis` is min_c (h - mu_c)' S^-1 (h - mu_c) with the covariance S of the features about their label's mean;
    `relative_mahalanobis` takes the distance from the single Gaussian off it. `RIDGE` x trace / width is added to the
    diagonals, so that a covariance of too few rows can be inverted.
    """

    def __init__(self, features: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
        """features: (rows, width); labels: (rows,), any integers."""
        import numpy as np

        names = np.unique(labels)
        self.means = np.stack([features[labels == name].mean(axis=0) for name in names])
        self.whole = features.mean(axis=0)
        self.within = _factor(features - self.means[np.searchsorted(names, labels)])
        self.around = _factor(features - self.whole)

    def mahalanobis(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        import numpy as np

        given, means = features @ self.within, self.means @ self.within
        # one label at a time: rows times labels times width would not fit
        best = np.full(len(given), np.inf)
        for mean in means:
            np.minimum(best, ((given - mean) ** 2).sum(axis=1), out=best)
        return best

    def relative_mahalanobis(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        import numpy as np

        return np.asarray(self.mahalanobis(features) - (((features - self.whole) @ self.around) ** 2).sum(axis=1))


def _factor(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """W with W W' = (S + ridge)^-1 for the covariance S (divided by n) of centred rows: (width, width)."""
    import numpy as np

    width = centred.shape[1]
    covariance = centred.T @ centred / len(centred)
    covariance[np.diag_indices(width)] += RIDGE * max(float(np.trace(covariance)) / width, np.finfo(float).tiny)
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors / np.sqrt(np.maximum(values, np.finfo(float).tiny)))


def nearest_distance(train: NDArray[np.float64], features: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """Euclidean distance to the K-th nearest training row, all vectors scaled to length 1."""
    import numpy as np

    kept = neighbours_used(len(train), neighbours)
    known, given = (_unit(values) for values in (train, features))
    found = np.empty(len(given))
    size = max(1, _BLOCK // len(known))
    for start in range(0, len(given), size):
        cosine = given[start : start + size] @ known.T
        nearest = np.partition(cosine, len(known) - kept, axis=1)[:, len(known) - kept]
        found[start : start + size] = np.sqrt(np.maximum(2 - 2 * nearest, 0))
    return found


def neighbours_used(rows: int, neighbours: int, smallest: int | None = None) -> int:
    """K for a training set of some rows, of which the smallest label has `smallest`: at most the root of the rows.

    Nor is it more than the smallest label has: a row of the task would then be as far from its K-th neighbour as from
    another label, and rows from outside, between the labels, nearer than those of the task.
    """
    import math

    return max(1, min(neighbours, math.isqrt(rows), rows if smallest is None else smallest))


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.finfo(float).tiny))
