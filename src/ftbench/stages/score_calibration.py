"""Calibration of one artifact: its temperature, and its rows of the table `calibration`.

Stage `score` calls it with predictions that it has read and checked. The temperature comes from the `select` rows
alone; no evaluation row can move it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError, problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ftbench.metrics.base import Predictions
    from ftbench.statistics.temperature import Fit

SCALED = "temperature"


@dataclass(frozen=True)
class Stored:
    """The predictions of an artifact on one set. `part`: rows of the table `predictions`; `head`: the order of their
    logits; `about`: the set's audit; `predictions`: the same rows read in the set's labels."""

    eval_set: str
    role: str
    part: Any
    head: list[str]
    about: Mapping[str, Any]
    predictions: Predictions
    where: str

    def logits(self) -> NDArray[np.float64]:
        """(rows, labels of the head)."""
        import numpy as np

        from ftbench.metrics.stored import stored_logits

        return np.asarray(stored_logits(self.part, len(self.head), self.where))


@dataclass(frozen=True)
class Scaling:
    """The temperature of an artifact, or the reason why it has none; `rows` it was fitted on."""

    fit: Fit | None
    rows: int = 0
    reason: str | None = None


def calibration_rows(stored: Stored, scaling: Scaling, common: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The two rows of one set, as predicted and scaled; `common` are the columns that every score of the set has."""
    raw: dict[str, Any] = {**common, "scaling": "none", "temperature": 1.0}
    scaled: dict[str, Any] = {**common, "scaling": SCALED, "n_select": scaling.rows}
    if stored.predictions.kind != "classification":
        reason = f"predictions of the kind {stored.predictions.kind} have no probabilities of labels"
        return [{**row, "temperature": None, "reason": reason} for row in (raw, scaled)]
    raw |= _measures(stored.predictions, raw)
    if stored.role == "prior":
        return [raw, {**scaled, "reason": "the temperature is that of the task's labels, not of the prior task's"}]
    if scaling.fit is None:
        return [raw, {**scaled, "reason": scaling.reason}]
    found, changed = _scaled(stored, scaling.fit.temperature)
    scaled |= {"temperature": scaling.fit.temperature, "temperature_at": scaling.fit.at, "changed": changed}
    return [raw, {**scaled, **_measures(found, scaled)}]


def scaling_of(sets: Sequence[Stored]) -> Scaling:
    """The temperature that the selection rows ask for."""
    import numpy as np

    from ftbench.metrics.stored import label_places
    from ftbench.statistics.temperature import fit_temperature

    select = next((stored for stored in sets if stored.role == "select"), None)
    if select is None:
        return Scaling(None, reason="the artifact has no predictions on the selection rows")
    if select.predictions.kind != "classification":
        return Scaling(None, reason=f"predictions of the kind {select.predictions.kind} have no logits of labels")
    logits, gold = select.logits(), label_places(select.part.column("gold"), select.head)
    bad = int((~np.isfinite(logits).all(axis=1)).sum())
    if bad or (gold < 0).any():
        what = f"{bad} have no finite logits" if bad else f"{int((gold < 0).sum())} have no label of the model's"
        return Scaling(None, len(logits), f"no temperature: of {len(logits)} selection rows {what}")
    return Scaling(fit_temperature(logits, gold), len(logits))


def _scaled(stored: Stored, temperature: float) -> tuple[Predictions, int]:
    """The predictions at a temperature, their labels kept, and how many rows would get another label.

    Dividing all logits of a row by one number keeps their order, so labels can change only where a map adds
    probabilities up before it takes the largest.
    """
    from ftbench.data.labels import map_logits

    before, label_map = stored.predictions, stored.about.get("map")
    labels = list(stored.about["labels"])
    pred, shares = map_logits(stored.logits() / temperature, stored.head, labels, label_map, stored.where)
    changed = int((pred != before.pred).sum())
    if changed and (label_map is None or label_map["rule"] != "sum_then_argmax"):
        raise FtbenchError(
            problem(file=stored.where, key="logits", found=f"{changed} labels changed by temperature {temperature}",
                    expected="none: it keeps the order of the logits",
                    fix="This is a fault of ftbench; report it with the file.")
        )  # fmt: skip
    return replace(before, probabilities=shares), changed


def _measures(predictions: Predictions, row: Mapping[str, Any]) -> dict[str, Any]:
    """The measures of one row and its bins; what is undefined is null, with the reason."""
    import math

    from ftbench.metrics.brier import Brier
    from ftbench.metrics.calibration_gaps import confidences
    from ftbench.metrics.ece import ExpectedCalibrationError
    from ftbench.metrics.ece_mass import EqualMassCalibrationError
    from ftbench.metrics.mce import MaximumCalibrationError
    from ftbench.metrics.nll import NegativeLogLikelihood
    from ftbench.metrics.resampling import generator_for, percentile_interval

    confidence, right = confidences(predictions)
    ece = ExpectedCalibrationError()
    metrics = (ece, EqualMassCalibrationError(), MaximumCalibrationError(), Brier(), NegativeLogLikelihood())
    accuracy, mean = float(right.mean()), float(confidence.mean())
    found = {"accuracy": accuracy, "confidence": mean, "overconfidence": mean - accuracy}
    found |= {metric.name: metric.score(predictions) for metric in metrics}
    measures: dict[str, Any] = {name: value if math.isfinite(value) else None for name, value in found.items()}
    without = int((predictions.pred < 0).sum())
    if without:
        measures["reason"] = f"{without} of {len(predictions)} rows have no prediction, and so no confidence"
        return measures
    # the generator of the metric `ece`, so that both tables say the same of raw probabilities
    generator = generator_for(row["artifact_id"], row["eval_set"], ece.name)
    interval = percentile_interval(ece.resampled(predictions, generator, row["resamples"])) or (None, None)
    return {**measures, "ece_low": interval[0], "ece_high": interval[1], **_bins(confidence, right)}


def _bins(confidence: NDArray[np.float64], right: NDArray[np.float64]) -> dict[str, list[Any]]:
    """What the bins of equal width hold; both (rows,)."""
    import numpy as np

    from ftbench.metrics.calibration_gaps import BINS, bin_of

    place = bin_of(confidence)
    counts, sums, hits = (np.bincount(place, given, BINS).tolist() for given in (None, confidence, right))
    return {
        "bin_n": counts,
        "bin_confidence": [total / n if n else None for total, n in zip(sums, counts, strict=True)],
        "bin_accuracy": [total / n if n else None for total, n in zip(hits, counts, strict=True)],
    }
