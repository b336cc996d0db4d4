"""Stage `detect`: how well scores tell rows from outside the task from the task's own, for one artifact.

Runs on a CPU from stored logits, features or likelihoods. Every score is high for rows from outside; the threshold
comes from the `select` rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.errors import FtbenchError, problem
from ftbench.config.strict import Strict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Scored = tuple[str, dict[str, NDArray[np.float64]], dict[str, Any]]  # name, values by set, further columns

FROM_LOGITS = ("msp", "max_logit", "energy", "entropy")
FROM_FEATURES = ("mahalanobis", "relative_mahalanobis", "knn")


class Spec(Strict):
    artifact: str
    study: str
    task: str
    model: str
    artifact_kind: Literal["run", "soup", "ensemble", "language_model"]
    method: str | None = None
    variant: str | None = None
    seed: int | None = None
    inside: str = Field(description="set that stands for the task")
    outside: list[str]
    scores: list[str]
    temperature: float
    neighbours: int
    accepted: float
    resamples: int


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Input `predictions` (and `features` where scores need them), or `likelihoods`; output `detection`."""
    from ftbench.tables.store import write_table

    rows: list[dict[str, Any]] = []
    for name, values, further in _scores(spec, inputs):
        rows += [
            {
                **spec.model_dump(include={"study", "task", "model", "artifact_kind", "method", "variant", "seed"}),
                "artifact_id": spec.artifact,
                "id_set": spec.inside,
                "ood_set": outside,
                "score": name,
                "positive": "ood",
                **further,
                **measured(spec, name, outside, values),
            }
            for outside in spec.outside
        ]
    write_table("detection", rows, outputs["detection"])
    print(f"{len(rows)} rows: {len(spec.scores)} scores, outside sets {', '.join(spec.outside)}", flush=True)


def measured(spec: Spec, name: str, outside: str, values: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """The measures of one score on one outside set; nulls and the reason where a score is not a number."""
    import dataclasses

    import numpy as np

    from ftbench.metrics.resampling import generator_for, percentile_interval
    from ftbench.statistics.detection import auroc_resamples, separation

    inner, outer, select = values[spec.inside], values[outside], values["select"]
    counts = {"n_id": len(inner), "n_ood": len(outer), "n_select": len(select), "resamples": spec.resamples}
    odd = {each: int((~np.isfinite(values[each])).sum()) for each in (spec.inside, outside, "select")}
    bad = [f"{count} rows of `{each}` have no finite score" for each, count in odd.items() if count]
    bad += [f"`{each}` has no rows" for each in (spec.inside, outside, "select") if not len(values[each])]
    if bad:
        return {**counts, "reason": "; ".join(bad)}
    generator = generator_for(spec.artifact, outside, name)
    interval = percentile_interval(auroc_resamples(inner, outer, generator, spec.resamples)) or (None, None)
    # the smallest of the select scores that at least the asked share does not exceed
    threshold = float(np.quantile(select, spec.accepted, method="inverted_cdf"))
    return {
        **counts,
        **dataclasses.asdict(separation(inner, outer)),
        "auroc_low": interval[0],
        "auroc_high": interval[1],
        "threshold": threshold,
        "id_flagged": float(np.mean(inner > threshold)),
        "ood_flagged": float(np.mean(outer > threshold)),
    }


def _scores(spec: Spec, inputs: Mapping[str, Path]) -> Iterator[Scored]:
    """Every score with its values by set; nothing for an artifact that failed and so has no predictions."""
    if "likelihoods" in inputs:
        yield from _of_likelihoods(spec, inputs["likelihoods"])
        return
    from ftbench.statistics.outlier_scores import from_logits
    from ftbench.tables.store import read_table

    table = read_table("predictions", inputs["predictions"])
    if table.num_rows == 0:
        return
    logits = _by_set(spec, table, "logits")
    for name in spec.scores:
        if name in FROM_LOGITS:
            yield name, _each(partial(from_logits, name, temperature=spec.temperature), logits), {}
    if set(spec.scores) & set(FROM_FEATURES):
        yield from _of_features(spec, inputs["features"])


def _of_likelihoods(spec: Spec, file: Path) -> Iterator[Scored]:
    """log p of the pretrained model minus log p of the adapted one: the sum over tokens, and its mean over them."""
    import numpy as np
    from pyarrow import compute

    from ftbench.tables.store import metadata, read_table

    table = read_table("likelihoods", file)
    header = metadata(table)
    cost = {"forward_rows": header["forward_rows"], "seconds": header["seconds"]}
    ratio = compute.subtract(table.column("pretrained"), table.column("adapted"))
    names, tokens = table.column("eval_set").to_numpy(zero_copy_only=False), table.column("tokens").to_numpy()
    for name in spec.scores:
        # a row without a token says nothing: its ratio is 1
        values = ratio.to_numpy() / np.maximum(tokens, 1) if name.endswith("_mean") else ratio.to_numpy()
        yield name, {each: values[names == each] for each in (spec.inside, "select", *spec.outside)}, cost


def _of_features(spec: Spec, file: Path) -> Iterator[Scored]:
    import numpy as np

    from ftbench.statistics.outlier_scores import Gaussians, nearest_distance, neighbours_used
    from ftbench.tables.store import read_table

    table = read_table("features", file)
    train, labels = _training(table, file)
    features = _by_set(spec, table, "feature")
    used: dict[str, Any] = {"n_train": len(train)}
    gaussians = Gaussians(train, labels) if {"mahalanobis", "relative_mahalanobis"} & set(spec.scores) else None
    for name in spec.scores:
        if name == "knn":
            least = int(np.bincount(labels).min())
            kept = neighbours_used(len(train), spec.neighbours, least)
            if kept < spec.neighbours:
                print(
                    f"knn: K is {kept} instead of {spec.neighbours}: at most the root of the training rows"
                    f" ({len(train)}), and no more than the smallest label has ({least})",
                    flush=True,
                )
            values = _each(partial(nearest_distance, train, neighbours=kept), features)
            yield name, values, {**used, "neighbours": kept}
        elif name in FROM_FEATURES:
            yield name, _each(getattr(gaussians, name), features), used


def _training(table: Any, file: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    import numpy as np
    from pyarrow import compute

    part = table.filter(compute.equal(table.column("eval_set"), "train"))
    features = _matrix(part, "feature")
    if not np.isfinite(features).all() or part.column("label").null_count or not len(features):
        raise FtbenchError(
            problem(file=file, key="train", found=f"{len(features)} rows, some without label or finite feature",
                    expected="labelled training rows of a model with finite weights")
        )  # fmt: skip
    return features, np.unique(part.column("label").to_pylist(), return_inverse=True)[1]


def _by_set(spec: Spec, table: Any, column: str) -> dict[str, NDArray[np.float64]]:
    """The numbers of each wanted set: (rows, width)."""
    from pyarrow import compute

    found = {}
    for name in (spec.inside, "select", *spec.outside):
        found[name] = _matrix(table.filter(compute.equal(table.column("eval_set"), name)), column)
    return found


def _each(score: Callable[[NDArray[np.float64]], NDArray[np.float64]], given: Mapping[str, Any]) -> dict[str, Any]:
    """A score of every set; a set that could not be had has no rows and no scores."""
    return {name: score(rows) if len(rows) else rows.reshape(-1) for name, rows in given.items()}


def _matrix(table: Any, column: str) -> NDArray[np.float64]:
    import numpy as np
    from pyarrow import compute

    flat = compute.list_flatten(table.column(column)).to_numpy().astype(np.float64)
    return np.asarray(flat.reshape(table.num_rows, -1) if table.num_rows else np.zeros((0, 0)))
