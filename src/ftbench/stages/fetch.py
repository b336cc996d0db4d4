"""Stage `fetch`: get the raw rows of one data set. With `base` the only stage that may touch the network.

A local copy under `data_root` is taken before the hub: then the plan gives its files as inputs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from ftbench.config.dataset import Fields, GeneratedSource, HubSource
from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict


class Spec(Strict):
    """Where rows come from: exactly the part of an entry that decides what is read."""

    dataset: str
    hub: HubSource | None = None
    generated: GeneratedSource | None = None
    local: list[str] = []  # our splits that have a local file; the files themselves are inputs
    splits: dict[str, str] = {}  # our split to the source's name, for the hub
    fields: Fields
    label: str | None = None
    access: str = "open"


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    from ftbench.data.availability import absence, refusal
    from ftbench.data.sources import read_generated, read_hub, read_local

    if spec.generated:
        origin, raw = "generated", read_generated(spec.generated, spec.fields, spec.label)
    elif spec.local:
        origin, raw = (
            "data_root",
            read_local({split: inputs[split] for split in spec.local}, spec.fields, spec.label),
        )
    elif spec.hub:
        try:
            origin, raw = "hub", read_hub(spec.hub, spec.splits, spec.fields, spec.label)
        except FtbenchError as error:
            reason = refusal(error, spec.access)
            if reason is None:
                raise
            _not_available(spec, reason, outputs)
            return
    elif spec.access != "open":
        _not_available(spec, absence(spec.dataset, spec.access), outputs)
        return
    else:
        raise FtbenchError(
            f"data set {spec.dataset}: found no hub source and no files under `data_root`. "
            f"Set `data_root=DIR` so that DIR/<data set>/<split>.parquet exists (access: {spec.access})."
        )
    names = {tuple(part.label_names or ()) for part in raw.values()}
    if len(names) > 1:
        raise FtbenchError(f"data set {spec.dataset}: its splits name their labels differently: {sorted(names)}")
    tables = [
        part.table.append_column("split", pa.array([split] * part.table.num_rows, pa.string()))
        for split, part in raw.items()
    ]
    parquet.write_table(pa.concat_tables(tables), outputs["fetched"], compression="zstd")
    record = {
        "dataset": spec.dataset,
        "origin": origin,
        "revision": spec.hub.revision if origin == "hub" and spec.hub else None,
        "repository": spec.hub.repository if origin == "hub" and spec.hub else None,
        "digest": hashlib.sha256(outputs["fetched"].read_bytes()).hexdigest(),
        "label_names": list(names.pop()) or None,
        "rows": {split: part.table.num_rows for split, part in raw.items()},
    }
    outputs["record"].write_text(json.dumps(record, indent=1))


def _not_available(spec: Spec, reason: str, outputs: Mapping[str, Path]) -> None:
    """A file without rows that says why, and a record that does."""
    from pyarrow import parquet

    from ftbench.data.availability import without_rows

    parquet.write_table(without_rows(reason), outputs["fetched"])
    record: dict[str, object] = {
        "dataset": spec.dataset,
        "origin": "not available",
        "revision": None,
        "repository": spec.hub.repository if spec.hub else None,
        "digest": None,
        "label_names": None,
        "rows": {},
        "not_available": reason,
    }
    outputs["record"].write_text(json.dumps(record, indent=1))
    print(f"data set {spec.dataset} is not available: {reason}", flush=True)
