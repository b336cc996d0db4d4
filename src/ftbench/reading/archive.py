"""What is in a shared archive, and whether it is whole: the manifest, its digests, and the check of both.

An archive is a zip file with `manifest.json` (path to sha256 and size of every other file) and an RO-Crate
description. Nothing is unpacked outside a temporary folder, and names that lead out of it are refused.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Any

from ftbench.config.errors import FtbenchError, problem

MANIFEST = "manifest.json"
CRATE = "ro-crate-metadata.json"
VERSION = 1
_CHUNK = 1 << 20


def sha256_of(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def verified(archive: Path) -> dict[str, Any]:
    """The manifest of a whole archive; raises `FtbenchError` with everything that is wrong with it."""
    try:
        with zipfile.ZipFile(archive) as opened:
            manifest = _manifest(archive, opened)
            wrong = list(_wrong(opened, manifest["files"]))
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise FtbenchError(
            problem(file=archive, found=f"no readable archive ({error})", expected="a file that `ftbench bundle` made")
        ) from None
    if wrong:
        raise FtbenchError("\n".join(f"{archive}: {text}" for text in wrong))
    return manifest


def _manifest(archive: Path, opened: zipfile.ZipFile) -> dict[str, Any]:
    try:
        content = json.loads(opened.read(MANIFEST))
    except (KeyError, ValueError):
        content = None
    if not isinstance(content, dict) or content.get("version") != VERSION or not isinstance(content.get("files"), dict):
        raise FtbenchError(
            problem(file=archive, key=MANIFEST, found="no manifest", expected=f"one of version {VERSION}")
        )
    return content


def _wrong(opened: zipfile.ZipFile, listed: dict[str, Any]) -> Iterator[str]:
    names = [item.filename for item in opened.infolist()]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name}: stands in it twice"
    for name in sorted(set(listed) - set(names)):
        yield f"{name}: listed in the manifest but not there"
    for item in opened.infolist():
        if item.filename == MANIFEST:
            continue
        path = PurePosixPath(item.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in item.filename:
            yield f"{item.filename}: a path that leads out of the archive"
        elif item.filename not in listed:
            yield f"{item.filename}: not listed in the manifest"
        elif item.file_size != listed[item.filename]["size"]:
            yield f"{item.filename}: {item.file_size} bytes instead of {listed[item.filename]['size']}"
        else:
            with opened.open(item) as stream:
                found = sha256_of(stream)
            if found != listed[item.filename]["sha256"]:
                yield f"{item.filename}: sha256 {found[:12]} instead of {listed[item.filename]['sha256'][:12]}"


def checked_tables(root: Path) -> dict[str, int]:
    """Rows of each table below `root`/tables, every one checked against its schema."""
    from ftbench.tables.schema import TABLES
    from ftbench.tables.store import read_table

    files = sorted((root / "tables").glob("*.parquet"))
    return {file.stem: read_table(file.stem, file).num_rows for file in files if file.stem in TABLES}


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """The folder of a verified archive's files; it is gone afterwards."""
    verified(archive)
    with TemporaryDirectory(prefix="ftbench-archive-") as folder, zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)  # every name was checked by `verified`
        yield Path(folder)
