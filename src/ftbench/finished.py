"""What jobs of a scheduler have finished, kept until the study is complete.

Snakemake removes the outputs of a job that it believes failed or incomplete: of every cell of an allocation when
one of them fails, and of jobs that went on after their workflow was killed. The same job finds its result here and
takes it over, provided that its settings, its source and the content of its inputs are those it was made from.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ftbench.outputs import Outputs

MANIFEST = "inputs.json"


def folder(work: Path) -> Path:
    """Where a study keeps finished results; one folder below it for each job."""
    return work / "finished"


def keep(place: Outputs, inputs: Mapping[str, Path], work: Path) -> None:
    """Keep the committed files of a job as hard links, which cost no space while the result itself is there."""
    if not _only_files([*place.final.values(), *inputs.values()]):
        return
    final = folder(work) / place.work.name
    partial = final.with_name(f".{final.name}.{os.getpid()}")
    with suppress(OSError):  # no hard links on this file system: then a lost result is computed again
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, file in place.final.items():
            os.link(file, partial / name)
        (partial / MANIFEST).write_text(json.dumps(_digests(inputs)))
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
    shutil.rmtree(partial, ignore_errors=True)


def take_over(place: Outputs, inputs: Mapping[str, Path], work: Path) -> bool:
    """Put a kept result into `place`, ready to be committed; False where there is none of these inputs."""
    kept = folder(work) / place.work.name
    try:
        same = json.loads((kept / MANIFEST).read_text()) == _digests(inputs)
    except (OSError, ValueError):
        return False
    if not same or not all((kept / name).is_file() for name in place.final):
        return False
    for name in place.final:
        os.link(kept / name, place[name])
        os.utime(place[name])  # younger than its inputs, as if it had just been made
    return True


def forget(work: Path) -> None:
    """Remove everything that is kept; the workflow calls it when the study is complete."""
    shutil.rmtree(folder(work), ignore_errors=True)


def _only_files(paths: list[Path]) -> bool:
    return all(path.is_file() for path in paths)


def _digests(inputs: Mapping[str, Path]) -> dict[str, str]:
    found = {}
    for name, file in sorted(inputs.items()):
        with file.open("rb") as handle:
            found[name] = hashlib.file_digest(handle, "sha256").hexdigest()
    return found
