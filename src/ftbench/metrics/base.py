"""What a metric is, and the three ways to resample one.

The stage `score` hands a metric the stored predictions of one artifact on one set and gets a score and its
bootstrap distribution over examples. A metric never sees a model and never chooses labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ftbench.metrics.resampling import confusion_resamples, index_resamples, mean_resamples

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# What is scored where a task names no metrics, and on prior sets; the first one leads.
DEFAULTS = {
    "classification": ("accuracy", "f1_macro", "matthews", "nll", "brier", "ece"),
    "regression": ("pearson", "spearman", "pearson_spearman", "mse"),
    "text": ("word_accuracy", "word_loss"),
}


@dataclass(frozen=True)
class Predictions:
    """Predictions on one set, after the label map. Classification fills the first three arrays, regression the next
    two, plain text the last.

    gold: (rows,) index into `labels`; pred: (rows,) index or -1 for no valid prediction;
    probabilities: (rows, labels); gold_value, pred_value: (rows,). `labels` are the set's, in its order.
    words: (rows, 3), summed loss, number of supervised words, and right ones among them.
    """

    kind: str
    labels: tuple[str, ...]
    gold: NDArray[np.int64]
    pred: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    gold_value: NDArray[np.float64]
    pred_value: NDArray[np.float64]
    words: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        if self.words is not None:
            return len(self.words)
        return len(self.gold if self.kind == "classification" else self.gold_value)

    def take(self, rows: NDArray[np.int64]) -> Predictions:
        """The same for some rows, repeats allowed."""
        if self.words is not None:
            return replace(self, words=self.words[rows])
        if self.kind == "regression":
            return replace(self, gold_value=self.gold_value[rows], pred_value=self.pred_value[rows])
        return replace(self, gold=self.gold[rows], pred=self.pred[rows], probabilities=self.probabilities[rows])

    def confusion(self) -> NDArray[np.int64]:
        """Counts (labels, labels + 1): gold by predicted label; the last column is for rows without one."""
        import numpy as np

        count = len(self.labels)
        column = np.where(self.pred < 0, count, self.pred)
        cells = np.bincount(self.gold * (count + 1) + column, minlength=count * (count + 1))
        return cells.reshape(count, count + 1)


class Metric(ABC):
    """A measure of stored predictions; one plug-in file defines `name`, `summary` and what follows.

    `unit` "fraction" is shown in percent by reports. `bounds` are the lowest and highest possible score.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    higher_is_better: ClassVar[bool]
    kinds: ClassVar[tuple[str, ...]]
    unit: ClassVar[str] = "fraction"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def obstacle(self, predictions: Predictions) -> str | None:
        """Why this metric cannot be computed on the set, in words; null if it can."""
        if predictions.kind in self.kinds:
            return None
        return f"is for {' and '.join(self.kinds)}, and the set is for {predictions.kind}"

    def undefined(self, predictions: Predictions) -> str | None:
        """Why the score is undefined on these rows, in words; null where it is defined or no more is to be said."""
        return None

    @abstractmethod
    def score(self, predictions: Predictions) -> float:
        """The score of at least one row; NaN where it is undefined."""

    @abstractmethod
    def resampled(
        self, predictions: Predictions, generator: np.random.Generator, resamples: int
    ) -> NDArray[np.float64]:
        """Scores of bootstrap samples over examples: (resamples,), drawn from `generator` only."""

    def parts(self, predictions: Predictions) -> NDArray[Any] | None:
        """Numbers of each row (rows, quantities) whose sums over any rows give the score of these rows.

        Comparisons of models resample through them. Null where there are none, as for rank correlations.
        """
        return None

    def from_parts(self, sums: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
        """Scores (...) from sums of parts (..., quantities) over `rows` rows."""
        raise TypeError(f"{self.name} has no parts")


class ConfusionMetric(Metric):
    """A metric of the confusion matrix alone; its bootstrap is one multinomial draw a resample."""

    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    @abstractmethod
    def from_confusion(self, confusion: NDArray[Any]) -> NDArray[np.float64]:
        """Scores (...) of matrices of counts (..., labels, labels + 1) as in `Predictions.confusion`."""

    def score(self, predictions: Predictions) -> float:
        return float(self.from_confusion(predictions.confusion()))

    def resampled(
        self, predictions: Predictions, generator: np.random.Generator, resamples: int
    ) -> NDArray[np.float64]:
        return confusion_resamples(predictions.confusion(), self.from_confusion, generator, resamples)

    def parts(self, predictions: Predictions) -> NDArray[Any]:
        """The row's cell of the confusion matrix, one among zeros: (rows, labels * (labels + 1)), bytes."""
        import numpy as np

        count = len(predictions.labels)
        cells = predictions.gold * (count + 1) + np.where(predictions.pred < 0, count, predictions.pred)
        return np.eye(count * (count + 1), dtype=np.uint8)[cells]

    def from_parts(self, sums: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
        import math

        count = (math.isqrt(1 + 4 * sums.shape[-1]) - 1) // 2  # quantities are labels * (labels + 1)
        return self.from_confusion(sums.reshape(*sums.shape[:-1], count, count + 1))


class MeanMetric(Metric):
    """A metric that is the mean over examples of something."""

    @abstractmethod
    def per_example(self, predictions: Predictions) -> NDArray[np.float64]:
        """The value of each example: (rows,)."""

    def score(self, predictions: Predictions) -> float:
        return float(self.per_example(predictions).mean())

    def resampled(
        self, predictions: Predictions, generator: np.random.Generator, resamples: int
    ) -> NDArray[np.float64]:
        return mean_resamples(self.per_example(predictions)[:, None], generator, resamples)[:, 0]

    def parts(self, predictions: Predictions) -> NDArray[Any]:
        return self.per_example(predictions)[:, None]

    def from_parts(self, sums: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
        return sums[..., 0] / rows


class RatioMetric(Metric):
    """A ratio of sums over rows, which is the same of sums and of means: of numbers that every row has."""

    @abstractmethod
    def parts(self, predictions: Predictions) -> NDArray[Any]:
        """What is summed: (rows, quantities)."""

    def score(self, predictions: Predictions) -> float:
        return float(self.from_parts(self.parts(predictions).sum(axis=0), len(predictions)))

    def resampled(
        self, predictions: Predictions, generator: np.random.Generator, resamples: int
    ) -> NDArray[np.float64]:
        means = mean_resamples(self.parts(predictions), generator, resamples)
        return self.from_parts(means, len(predictions))


class WordMetric(RatioMetric):
    """A mean over the supervised words of all rows of plain text, long rows counting more."""

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    column: ClassVar[int]  # of `Predictions.words`: what is summed

    def parts(self, predictions: Predictions) -> NDArray[Any]:
        """(rows, 2): what is summed, and the number of words."""
        assert predictions.words is not None
        return predictions.words[:, [self.column, 1]]

    def from_parts(self, sums: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
        import numpy as np

        with np.errstate(invalid="ignore"):
            return np.asarray(sums[..., 0] / sums[..., 1])


class RecomputedMetric(Metric):
    """A metric that has to be computed anew on every bootstrap sample."""

    def resampled(
        self, predictions: Predictions, generator: np.random.Generator, resamples: int
    ) -> NDArray[np.float64]:
        return index_resamples(len(predictions), lambda rows: self.score(predictions.take(rows)), generator, resamples)


PLUGIN_BASE = Metric
