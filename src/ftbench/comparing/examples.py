"""Stored predictions of many runs on one set, aligned by example, for tests that resample examples.

Reads every file of predictions once and keeps of it what the metric adds up, a few bytes a row. Rows are aligned by
`uid`, never by position.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError, problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ftbench.metrics.base import Metric
    from ftbench.paths import StudyPaths


@dataclass
class SetExamples:
    """One set: its metric, the sorted uids, and each artifact's parts in that order (rows, quantities).

    `stored` and `order` are the uids as the first file has them and the order that sorts them, because most files
    have the same.
    """

    metric: Metric
    uids: Any
    stored: Any
    order: NDArray[np.int64]
    first: Path
    parts: dict[str, NDArray[Any]] = field(default_factory=dict)

    def stacked(self, artifacts: list[str]) -> NDArray[Any]:
        """Parts of some artifacts: (artifacts, rows, quantities)."""
        import numpy as np

        return np.stack([self.parts[artifact] for artifact in artifacts])

    def right(self, artifacts: list[str]) -> NDArray[np.bool_]:
        """Whether each example is right, for metrics whose only part says so: (artifacts, rows)."""
        import numpy as np

        return np.asarray(self.stacked(artifacts)[..., 0] > 0)


def read_examples(
    places: StudyPaths, task: str, artifacts: Iterable[str], metrics: Mapping[str, str]
) -> dict[str, SetExamples]:
    """Examples of a task's sets; `metrics` names the metric of each wanted set.

    Artifacts without predictions are left out, and so are sets whose metric has no parts. Raises `FtbenchError`
    where two runs were predicted on different rows.
    """
    from ftbench.metrics.stored import audited
    from ftbench.plugins import plugin

    file = places.path("audit", task=task)
    if not file.is_file():
        return {}
    audit = audited(file)
    chosen = {name: plugin("metrics", metric).factory() for name, metric in metrics.items()}
    found: dict[str, SetExamples] = {}
    for artifact in artifacts:
        path = places.path("predictions", artifact=artifact)
        if path.is_file():
            _add(path, artifact, audit, chosen, found)
    return found


def _add(
    path: Path, artifact: str, audit: Mapping[str, Any], chosen: Mapping[str, Any], found: dict[str, SetExamples]
) -> None:
    from pyarrow import compute

    from ftbench.metrics.stored import stored_predictions
    from ftbench.tables.store import metadata, read_parquet_checked

    columns = ["eval_set", "role", "uid", "gold", "pred", "gold_value", "pred_value", "logits"]
    table = read_parquet_checked(path, "the predictions of a run", columns)
    header = metadata(table)
    for name in table.column("eval_set").unique().to_pylist():
        if name not in chosen or name not in audit["sets"]:
            continue
        part = table.filter(compute.equal(table.column("eval_set"), name)).combine_chunks()
        head = header.get("prior_labels" if part.column("role")[0].as_py() == "prior" else "labels") or []
        predictions = stored_predictions(part, head, audit["sets"][name], f"{path}, set `{name}`")
        parts = chosen[name].parts(predictions)
        if parts is None:
            continue
        uids = part.column("uid").combine_chunks()
        if name not in found:  # sorted, so that draws do not depend on the order in which rows were stored
            order = compute.sort_indices(uids)
            found[name] = SetExamples(chosen[name], uids.take(order), uids, order.to_numpy().astype("int64"), path)
        entry = found[name]
        entry.parts[artifact] = parts[entry.order if entry.stored.equals(uids) else _order(entry, uids, path, name)]


def _order(entry: SetExamples, uids: Any, path: Path, name: str) -> NDArray[np.int64]:
    from pyarrow import compute

    order = compute.index_in(entry.uids, value_set=uids)
    if order.null_count or len(uids) != len(entry.uids):
        raise FtbenchError(
            problem(
                file=path,
                key="uid",
                found=f"other rows of set `{name}` than in {entry.first}",
                expected="the same examples in every run of a task",
                fix="The data changed between the two; run `predict` again for the older one.",
            )
        )
    return order.to_numpy()  # type: ignore[no-any-return]
