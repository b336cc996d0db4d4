"""What `collect` gathers about prior tasks: the samples, what each artifact lost of them, and rehearsal traces."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from ftbench.config.study import Study
    from ftbench.tables.scan import Scan

COLUMNS = ["uid", "role", "label", "aux", "prior_loss", "n_tokens", "loss_bin", "cluster"]


def copy_samples(study: Study, scan: Scan, target: Path) -> None:
    """The prior samples of all models as one table, copied in parts: there may be millions of them."""
    from ftbench.config.errors import FtbenchError
    from ftbench.tables.streamed import TableWriter, parts

    with TableWriter("pretrain_samples", target) as writer:
        for model in study.models if study.prior else ():
            file, cell = _samples_of(study, model, scan)
            if not file.is_file():
                scan.absent(cell, "pretrain_samples", "not run")
                continue
            try:
                for part in parts("pretrain_samples", file):
                    writer.write(part)
            except FtbenchError as error:
                scan.absent(cell, "pretrain_samples", str(error))


def _samples_of(study: Study, model: str, scan: Scan) -> tuple[Path, str]:
    assert study.prior is not None
    file = scan.places.path("pretrain_samples", prior=study.prior.name, model=model)
    return file, f"{study.prior.name}/{model}"


class Forgetting:
    """Rows of the table `forgetting`; what is common to a task and model is read once."""

    def __init__(self, study: Study, name: str, scan: Scan) -> None:
        self.study, self.name, self.scan = study, name, scan
        self.bins: dict[str, tuple[dict[str, dict[str, str]], float | None]] = {}
        self.before: dict[str, pa.Table | None] = {}

    def rows(self, cell: Any, kind: str) -> Iterator[dict[str, Any]]:
        """The rows of a run or soup; none where its predictions or those of the base model are not there."""
        from dataclasses import asdict

        import numpy as np

        from ftbench import matrix
        from ftbench.statistics.forgetting import damage

        if self.study.prior is None:
            return
        before = self._predictions(matrix.Base(cell.task, cell.model).artifact)
        after = self._predictions(cell.artifact)
        if before is None or after is None:
            return
        schemes, width = self._bins(cell.model)
        joined = before.join(after, "uid", right_suffix="_now", join_type="inner").sort_by("uid")
        if joined.num_rows == 0:
            return
        was, now = (_right(joined, suffix, width) for suffix in ("", "_now"))
        losses = [joined.column(name).to_numpy(zero_copy_only=False) for name in ("loss", "loss_now")]
        uids = joined.column("uid").to_pylist()
        identity = {
            "artifact_id": cell.artifact, "prior_set": self.study.prior.name, "study": self.name, "task": cell.task,
            "model": cell.model, "artifact_kind": kind, "method": cell.method, "variant": cell.variant,
            "seed": getattr(cell, "seed", None),
        }  # fmt: skip
        for scheme, bins in {"all": dict.fromkeys(uids, "all"), **schemes}.items():
            places: dict[str, list[int]] = {}
            for position, uid in enumerate(uids):
                if uid in bins:
                    places.setdefault(bins[uid], []).append(position)
            for name in sorted(places):
                rows = np.array(places[name])
                means = [float(values[rows].mean()) for values in losses]
                finite = [value if np.isfinite(value) else None for value in means]
                yield {
                    **identity, "scheme": scheme, "bin": name, **asdict(damage(was[rows], now[rows])),
                    "loss_before": finite[0], "loss_after": finite[1],
                }  # fmt: skip

    def _predictions(self, artifact: str) -> pa.Table | None:
        """Prior predictions of an artifact; base models are kept, because all runs are compared with them."""
        from pyarrow import compute

        from ftbench.config.errors import FtbenchError
        from ftbench.tables.store import read_table

        if artifact in self.before:
            return self.before[artifact]
        file = self.scan.places.path("predictions", artifact=artifact)
        found = None
        if file.is_file():
            try:
                table = read_table("predictions", file)
                found = table.filter(compute.equal(table.column("role"), "prior")).select(
                    ["uid", "gold", "pred", "gold_value", "pred_value", "loss"]
                )
            except FtbenchError:  # `score` has told of it already
                found = None
        if artifact.startswith("base/"):
            self.before[artifact] = found
        return found

    def _bins(self, model: str) -> tuple[dict[str, dict[str, str]], float | None]:
        """Scheme to uid to bin, of the rows to evaluate, and the tolerance of a regression."""
        if model not in self.bins:
            file, _ = _samples_of(self.study, model, self.scan)
            self.bins[model] = _read_bins(file) if file.is_file() else ({}, None)
        return self.bins[model]


def _read_bins(file: Path) -> tuple[dict[str, dict[str, str]], float | None]:
    import pyarrow as pa
    from pyarrow import compute, parquet

    from ftbench.config.errors import FtbenchError
    from ftbench.tables.store import metadata
    from ftbench.tables.streamed import parts

    found: dict[str, dict[str, str]] = {}
    try:
        header = metadata(parquet.read_schema(file).empty_table())
        for part in parts("pretrain_samples", file, columns=COLUMNS):
            for row in part.filter(compute.equal(part.column("role"), "prior_eval")).to_pylist():
                bins = {"loss": f"loss {row['loss_bin']:02d}", **(json.loads(row["aux"]) if row["aux"] else {})}
                if row["label"] is not None:
                    bins["label"] = row["label"]
                if row["cluster"] is not None:
                    bins["cluster"] = f"cluster {row['cluster']}"
                for scheme, name in bins.items():
                    found.setdefault(scheme, {})[row["uid"]] = str(name)
    except (FtbenchError, pa.ArrowException, OSError):  # told of where the samples are copied
        return {}, None
    return found, header.get("width")


def _right(rows: pa.Table, suffix: str, width: float | None) -> Any:
    """Which rows are right: the label, a score within the tolerance, or of text (without a tolerance) the share of
    its words that is asked for."""
    import numpy as np

    if rows.column("gold").null_count == rows.num_rows:
        gold, said = (
            rows.column(f"{name}{suffix}").to_numpy(zero_copy_only=False) for name in ("gold_value", "pred_value")
        )
        return said >= gold - 1e-9 if width is None else np.abs(said - gold) <= width
    gold, predicted = (rows.column(name).to_pylist() for name in (f"gold{suffix}", f"pred{suffix}"))
    return np.array([one == other for one, other in zip(gold, predicted, strict=True)])


def forgetting_rows(study: Study, name: str, scan: Scan, scored: set[str]) -> list[dict[str, Any]]:
    """Rows of the table `forgetting` for every run and soup of the study among the artifacts that have scores."""
    from ftbench import matrix

    lost = Forgetting(study, name, scan)
    cells: list[tuple[matrix.Run | matrix.SoupCell, str]] = [(cell, "run") for cell in matrix.runs(study)]
    cells += [(cell, "soup") for cell in matrix.soups(study)]
    return [row for cell, kind in cells if cell.artifact in scored for row in lost.rows(cell, kind)]


def trace_rows(record: Mapping[str, Any], identity: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table `rehearsal_trace` from a run's record."""
    return [{**identity, **row} for row in record.get("rehearsal_trace") or []]
