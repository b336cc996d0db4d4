"""What the benchmark commands share: the packaged encoder, real rows, and how results are printed.

The three commands beside this file import it. Materials that are not installed end a command with a printed
reason and exit status 0; nothing here measures or trains.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NoReturn

CHECKOUT = Path(__file__).resolve().parents[1]
ENCODER = "minilm"
LABELS = ["entailment", "neutral", "contradiction"]


def finish(benchmark: str, content: dict[str, Any]) -> None:
    """Print the result as one JSON object on the last line."""
    print(json.dumps({"benchmark": benchmark, "status": "measured", **content}), flush=True)


def skip(benchmark: str, reason: str) -> NoReturn:
    """End the command: something optional is not there."""
    print(f"skipped: {reason}")
    print(json.dumps({"benchmark": benchmark, "status": "skipped", "reason": reason}), flush=True)
    sys.exit(0)


def encoder(benchmark: str) -> Path:
    """The folder of the packaged encoder's files; skips where the package is not installed."""
    from ftbench.config.load import load_catalogue

    entry = load_catalogue(CHECKOUT).model(ENCODER)
    package = str(entry.package)
    try:
        return Path(str(distribution(package).locate_file(entry.folder or "")))
    except PackageNotFoundError:
        skip(benchmark, f"the optional package {package} is not installed (pip install {package})")


def data_folder(benchmark: str, given: Path | None, needed: Sequence[str]) -> Path:
    """The absolute folder of local Parquet files; skips where it or a needed data set is missing."""
    from ftbench.paths import DATA_ROOT_VARIABLE, data_root

    folder = given or data_root()
    if folder is None:
        skip(benchmark, f"no folder of local data; give --data-root or set {DATA_ROOT_VARIABLE}")
    missing = [name for name in needed if not (folder / name).is_dir()]
    if missing:
        skip(benchmark, f"{folder} has no data set {', '.join(missing)}")
    return folder.resolve()


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as aligned text: the first column to the left, numbers to the right."""
    cells = [list(header), *[[_shown(value) for value in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )
