"""Rows of the table `groups`: the share of right answers in each group of an evaluation set.

Called by `comparing/robustness.py`. Groups are labels, or values of a further column of the data set that the study
names; tiny groups are told and never the worst, because any of them can be all wrong by chance.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

FEWEST_ROWS = 10
Rows = Mapping[str, "NDArray[np.int64]"]


def groups_of(evaluation: Path, eval_set: str, uids: Any, schemes: Sequence[str]) -> dict[str, Rows]:
    """Scheme to group to places in `uids`, of the rows of one set; a scheme that the set does not have is left out."""
    import numpy as np
    from pyarrow import compute

    from ftbench.data.parquet import read_parquet_file

    table = read_parquet_file(evaluation)
    table = table.filter(compute.equal(table.column("eval_set"), eval_set))
    place = {uid: number for number, uid in enumerate(uids.to_pylist())}
    found: dict[str, dict[str, list[int]]] = {}
    columns = (table.column(name).to_pylist() for name in ("uid", "label", "aux"))
    for uid, label, aux in zip(*columns, strict=True):
        values = {**(json.loads(aux) if aux else {}), **({} if label is None else {"label": label})}
        for scheme in schemes:
            if uid in place and values.get(scheme) is not None:
                found.setdefault(scheme, {}).setdefault(str(values[scheme]), []).append(place[uid])
    return {
        scheme: {group: np.array(rows) for group, rows in sorted(groups.items())} for scheme, groups in found.items()
    }


def group_rows(right: NDArray[np.bool_], groups: Mapping[str, Rows]) -> Iterator[dict[str, Any]]:
    """Rows without the identity of method and set; right: (runs, rows), whether each answer is right."""
    for scheme, members in groups.items():
        shares = {group: float(right[:, rows].mean()) for group, rows in members.items()}
        large = {group: shares[group] for group, rows in members.items() if len(rows) >= FEWEST_ROWS}
        worst = min(large, key=large.__getitem__) if large else None
        for group, rows in members.items():
            yield {
                "scheme": scheme,
                "group": group,
                "n": len(rows),
                "n_runs": len(right),
                "accuracy": shares[group],
                "worst": group == worst,
            }
