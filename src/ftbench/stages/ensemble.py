"""Stage `ensemble`: the mean output of a family's runs, from their stored predictions.

The reference of soups: it costs as many forward passes as it has members, and no weights. No model and no GPU are
needed here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class Spec(Strict):
    artifact: str
    mean: Literal["logits", "probabilities"]
    collapsed: Literal["leave_out", "keep", "refuse"]
    ingredients: list[str]  # run ids; the inputs are named by their position


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Inputs `audit`, `record<i>` and `predictions<i>` of each run; output `predictions`, whose metadata names members
    and left-out runs. Without members there are no rows, and so no scores."""
    import pyarrow as pa

    from ftbench.tables.store import empty, metadata, read_table, write_table

    sets: dict[str, Any] = json.loads(inputs["audit"].read_text(encoding="utf-8"))["sets"]
    members: dict[str, pa.Table] = {}
    left_out: dict[str, str] = {}
    for position, run_id in enumerate(spec.ingredients):
        record = json.loads(inputs[f"record{position}"].read_text(encoding="utf-8"))
        if record["status"] == "collapsed" and spec.collapsed == "refuse":
            raise FtbenchError(f"{run_id} has collapsed ({record['error']}) and `collapsed: refuse` is set")
        if record["status"] == "failed" or (record["status"] == "collapsed" and spec.collapsed == "leave_out"):
            left_out[run_id] = f"{record['status']}: {record['error']}"
        else:
            members[run_id] = read_table("predictions", inputs[f"predictions{position}"])
    header: dict[str, Any] = {"mean": spec.mean, "members": sorted(members), "left_out": left_out}
    if not members:
        print("no member is left: nothing to average", flush=True)
        write_table("predictions", empty("predictions"), outputs["predictions"], header)
        return
    first, *others = (metadata(table) for table in members.values())
    header |= {key: first.get(key) for key in ("labels", "prior_labels")}
    for run_id, other in zip(list(members)[1:], others, strict=True):
        if other.get("labels") != first.get("labels"):
            raise FtbenchError(
                f"{next(iter(members))} and {run_id} cannot be averaged: their outputs are in the orders "
                f"{first.get('labels')} and {other.get('labels')}"
            )
    tables = [
        _averaged(
            spec, name, sets[name], members, header["prior_labels" if sets[name]["role"] == "prior" else "labels"]
        )
        for name in next(iter(members.values())).column("eval_set").unique().to_pylist()
        if sets[name]["kind"] != "text"  # of plain text counts are stored, which have no mean output
    ]
    write_table("predictions", pa.concat_tables(tables), outputs["predictions"], header)
    print(f"mean {spec.mean} of {len(members)} of {len(spec.ingredients)} runs", flush=True)


def _averaged(
    spec: Spec, name: str, described: Mapping[str, Any], members: Mapping[str, pa.Table], labels: Sequence[str] | None
) -> pa.Table:
    """The rows of one evaluation set."""
    import numpy as np
    from pyarrow import compute

    from ftbench.data.predicted import Rows, predicted

    rows: Rows | None = None
    outputs = []
    for run_id, table in members.items():
        part = table.filter(compute.equal(table.column("eval_set"), name))
        uid = part.column("uid").to_pylist()
        if rows is None:
            value = part.column("gold_value").to_numpy(zero_copy_only=False)
            gold = part.column("gold").to_pylist()
            rows = Rows(name, part.column("role")[0].as_py(), uid, gold, value)
        elif list(rows.uid) != uid:
            raise FtbenchError(
                f"{next(iter(members))} and {run_id} were not predicted on the same rows of `{name}`; "
                "run `predict` of both again"
            )
        outputs.append(np.array(part.column("logits").to_pylist(), dtype=np.float64))
    assert rows is not None
    kind = described["kind"]
    mean = "logits" if kind == "regression" else spec.mean  # a score has no probabilities
    return predicted(spec.artifact, rows, averaged_outputs(outputs, mean), kind, labels or [], described)


def averaged_outputs(outputs: Sequence[np.ndarray], mean: str) -> np.ndarray:
    """The mean of outputs (rows, labels), as logits: for probabilities the logarithm of their mean."""
    import numpy as np

    from ftbench.data.labels import softmax

    if mean == "logits":
        return np.asarray(np.mean(outputs, axis=0))
    shares = np.mean([softmax(one) for one in outputs], axis=0)
    return np.asarray(np.log(np.clip(shares, 1e-300, None)))
