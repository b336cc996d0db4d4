"""Pack the results of a study into one archive that others can check and read: `ftbench bundle`.

Tables, records, logs of training, cards of data and the report go in; weights and predictions only when asked for. The
same results give the same bytes.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftbench.config.errors import FtbenchError, problem
from ftbench.reading.archive import CRATE, MANIFEST, VERSION, sha256_of
from ftbench.reading.folders import ResultsFolder

# the oldest time that a zip file can hold: archives of equal results are equal
_EPOCH = (1980, 1, 1, 0, 0, 0)
_RECORDS = (
    "runs/**/run.json", "runs/**/train.parquet", "soups/**/recipe.json", "data/sets/*/card.json",
    "data/tasks/*/audit.json", "data/tasks/*/split.json", "prior/**/upstream.json", "models/*/base.json",
)  # fmt: skip
_MEDIA = {
    ".parquet": "application/vnd.apache.parquet", ".json": "application/json", ".html": "text/html",
    ".md": "text/markdown", ".tex": "application/x-tex", ".bib": "application/x-bibtex", ".png": "image/png",
    ".svg": "image/svg+xml", ".safetensors": "application/octet-stream",
}  # fmt: skip


def bundle(
    folder: ResultsFolder, out: Path, study: dict[str, Any], weights: bool = False, predictions: bool = False
) -> dict[str, Any]:
    """Write the archive and return its manifest. `study` is the study's content; `FtbenchError` if `out` exists."""
    if out.exists():
        raise FtbenchError(problem(file=out, found="a file that is there already", fix="Name another, or remove it."))
    files = dict(_files(folder, weights, predictions))
    texts = {"study.json": json.dumps(study, indent=1, sort_keys=True)}
    listed: dict[str, dict[str, Any]] = {}
    for name, file in files.items():
        with file.open("rb") as stream:
            listed[name] = {"sha256": sha256_of(stream), "size": file.stat().st_size}
    texts[CRATE] = json.dumps(_crate(folder, study, listed), indent=1, sort_keys=True)
    for name, text in texts.items():
        listed[name] = _listed(text.encode())
    manifest = {"version": VERSION, "study": folder.name, "files": dict(sorted(listed.items()))}
    temporary = out.with_name(out.name + ".part")
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            _write(archive, MANIFEST, json.dumps(manifest, indent=1).encode())
            for name in sorted(listed):
                _write(archive, name, texts[name].encode() if name in texts else files[name].read_bytes())
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    return manifest


def _files(folder: ResultsFolder, weights: bool, predictions: bool) -> Iterator[tuple[str, Path]]:
    """Names in the archive and files: tables and report from where the newest are, the rest from the study."""
    for part in ("tables", "report"):
        for file in sorted((folder.tables.root / part).rglob("*")):
            if file.is_file():
                yield f"{part}/{file.relative_to(folder.tables.root / part).as_posix()}", file
    patterns = [*_RECORDS]
    patterns += ["predictions/**/predictions.parquet"] if predictions else []
    patterns += ["runs/**/model.safetensors", "soups/**/model.safetensors"] if weights else []
    for pattern in patterns:
        for file in sorted(folder.places.root.glob(pattern)):
            yield file.relative_to(folder.places.root).as_posix(), file


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    about = zipfile.ZipInfo(name, _EPOCH)
    about.compress_type = zipfile.ZIP_DEFLATED
    about.external_attr = 0o644 << 16
    archive.writestr(about, content)


def _listed(content: bytes) -> dict[str, Any]:
    import hashlib

    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def _crate(folder: ResultsFolder, study: dict[str, Any], listed: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """An RO-Crate 1.1 description: the study as a data set, its files, and the runs that made them as an action."""
    runs = folder.table("runs")
    rows = runs.to_pylist() if runs is not None else []
    ended = [row["ended_at"] for row in rows if row["ended_at"] is not None]
    commits = sorted({row["git_commit"] for row in rows if row["git_commit"]})
    parts = [{"@id": name} for name in sorted(listed)]
    files = [
        {
            "@id": name, "@type": "File", "contentSize": str(about["size"]), "sha256": about["sha256"],
            "encodingFormat": _MEDIA.get(Path(name).suffix, "application/octet-stream"),
        }
        for name, about in sorted(listed.items())
    ]  # fmt: skip
    software = {"@id": "#ftbench", "@type": "SoftwareApplication", "name": "ftbench",
                "version": ", ".join(commits) or "not recorded"}  # fmt: skip
    action = {"@id": "#study", "@type": "CreateAction", "name": f"study {folder.name}", "result": {"@id": "./"},
              "instrument": {"@id": "#ftbench"}}  # fmt: skip
    root = {
        "@id": "./", "@type": "Dataset", "name": study.get("title") or folder.name,
        "description": study.get("description") or f"Results of the study {folder.name}, fine-tuning methods compared.",
        "license": "not stated; the data sets and models that were used have terms of their own",
        "hasPart": parts, "mentions": {"@id": "#study"},
    }  # fmt: skip
    if ended:
        root["datePublished"] = max(ended).date().isoformat()
    descriptor = {
        "@id": CRATE, "@type": "CreativeWork", "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
    }  # fmt: skip
    return {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": [descriptor, root, action, software, *files]}
