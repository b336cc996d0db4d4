"""How well a score tells two groups of rows apart: the measures of out-of-distribution detection.

The stages `detect` and the metric `auroc` call it. One orientation throughout: a score is high for rows from outside,
and these are the positive class; `aupr_in` alone takes the rows of the task as positive, with the sign turned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CHUNK = 4_000_000  # numbers held at a time: 32 MB in double precision
TRUE_POSITIVE_RATE = 0.95


@dataclass(frozen=True)
class Separation:
    """Measures of one score. `aupr_*` are average precisions (steps), `*_trapezoid` areas under the joined points.

    `fpr95` is the smallest false-positive rate among thresholds with a true-positive rate of at least 0.95, no
    interpolation; here false positives are rows of the task. `fpr95_in` is the same with the classes swapped, the
    other convention in use.
    """

    auroc: float
    aupr_out: float
    aupr_in: float
    aupr_out_trapezoid: float
    aupr_in_trapezoid: float
    fpr95: float
    fpr95_in: float


def separation(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> Separation:
    """Measures of finite scores of rows of the task (inside,) and from elsewhere (outside,), each at least one."""
    import numpy as np
    from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

    score = np.concatenate([inside, outside])
    is_out = np.repeat([0, 1], [len(inside), len(outside)])

    def trapezoid(positive: NDArray[np.int64], values: NDArray[np.float64]) -> float:
        precision, recall, _ = precision_recall_curve(positive, values)
        return float(auc(recall, precision))

    return Separation(
        auroc=float(roc_auc_score(is_out, score)),
        aupr_out=float(average_precision_score(is_out, score)),
        aupr_in=float(average_precision_score(1 - is_out, -score)),
        aupr_out_trapezoid=trapezoid(is_out, score),
        aupr_in_trapezoid=trapezoid(1 - is_out, -score),
        fpr95=false_positive_rate(inside, outside),
        fpr95_in=false_positive_rate(-outside, -inside),
    )


def false_positive_rate(
    negative: NDArray[np.float64], positive: NDArray[np.float64], least: float = TRUE_POSITIVE_RATE
) -> float:
    """Smallest share of `negative` scores at or above a threshold that the share `least` of `positive` reach."""
    import numpy as np

    needed = int(np.ceil(least * len(positive) - 1e-9))
    threshold = np.sort(positive)[len(positive) - needed]
    return float(np.mean(negative >= threshold))


def auroc_resamples(
    inside: NDArray[np.float64], outside: NDArray[np.float64], generator: np.random.Generator, resamples: int
) -> NDArray[np.float64]:
    """AUROC of bootstrap samples that are drawn within each group, so that its size stays: (resamples,).

    AUROC = P(outside > inside) + P(equal)/2, from how often each distinct score is drawn.
    """
    import numpy as np

    values, place = np.unique(np.concatenate([inside, outside]), return_inverse=True)
    groups = place[: len(inside)], place[len(inside) :]
    parts = [np.zeros(0)]
    size = max(1, _CHUNK // max(1, len(place)))
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        below, above = (_drawn(group, len(values), generator, count) for group in groups)
        lower = np.cumsum(below, axis=1) - below
        parts.append(((lower + 0.5 * below) * above).sum(axis=1) / (len(inside) * len(outside)))
    return np.concatenate(parts)


def _drawn(
    group: NDArray[np.int64], values: int, generator: np.random.Generator, resamples: int
) -> NDArray[np.float64]:
    """How often each distinct value is drawn: (resamples, values)."""
    import numpy as np

    rows = group[generator.integers(0, len(group), size=(resamples, len(group)))]
    rows += values * np.arange(resamples)[:, None]
    return np.bincount(rows.ravel(), minlength=resamples * values).reshape(resamples, values).astype(np.float64)
