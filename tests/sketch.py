"""A stage made of a plain function, called through the adapter's command line."""

from __future__ import annotations

import json
import os
import signal
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ftbench.config.strict import Strict
from ftbench.outputs import Outputs

STAGE = "sketch"
Run = Callable[[Any, Mapping[str, Path], Outputs], None]


class Spec(Strict):
    number: int = 1


@pytest.fixture(name="stage")
def sketch_stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Run], None]]:
    """`stage(run)` makes a plain function the stage `sketch`; what `main` sets in the process is taken back."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS",
                     "TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE"):  # fmt: skip
        monkeypatch.setenv(variable, os.environ.get(variable, "1"))
    handler = signal.getsignal(signal.SIGTERM)

    def install(run: Run) -> None:
        module = types.ModuleType(f"ftbench.stages.{STAGE}")
        module.__spec__ = types.SimpleNamespace(name=module.__name__)  # type: ignore[assignment]
        module.Spec, module.run = Spec, run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)

    yield install
    signal.signal(signal.SIGTERM, handler)


def arguments(folder: Path, **changes: Any) -> list[str]:
    """The command line of the stage with two outputs, the record last."""
    settings = {"cell": "task/model", "spec": "{}", "work": folder / ".work", "source": "abc", **changes}
    words = [STAGE]
    for name, value in settings.items():
        words += [f"--{name}", str(value)]
    return [*words, "--outputs", f"model={folder}/out/model.bin", f"record={folder}/out/record.json"]


def write_both(spec: Any, inputs: Mapping[str, Path], outputs: Outputs) -> None:
    outputs["model"].write_text(f"model {spec.number}")
    outputs["record"].write_text("{}")


def left(folder: Path) -> list[str]:
    """Names in the output folder."""
    return sorted(file.name for file in (folder / "out").iterdir()) if (folder / "out").is_dir() else []


def failure(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / ".work" / "failures" / f"{STAGE}--task--model.json").read_text())
    return content


def no_failure(folder: Path) -> bool:
    return not list((folder / ".work").glob("failures/*"))


BOTH = ["model.bin", "record.json"]
