"""The entries of the catalogue against local copies of the data, where there are any."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ftbench.config.dataset import TRAINED_KINDS
from ftbench.config.load import load_catalogue
from ftbench.config.study import Study
from ftbench.paths import DATA_ROOT_VARIABLE
from ftbench.resolve import Resolver
from ftbench.stages import fetch, prepare

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get(DATA_ROOT_VARIABLE) or ROOT.parent / "shared" / "data")
STUDY = {"seeds": [0], "models": ["x"], "methods": {"vanilla": None}}
TASK = {"train": {"dataset": "x"}, "evaluate": {"test": {"dataset": "x", "role": "id"}}}
CATALOGUE = load_catalogue(ROOT)
RESOLVER = Resolver(Study.model_validate({**STUDY, "tasks": {"x": TASK}}), CATALOGUE)
READ = ("text", *TRAINED_KINDS)  # entities and spans are entries only
LOCAL = [
    name
    for name, entry in CATALOGUE.datasets.items()
    if not entry.generated and entry.kind in READ and RESOLVER.local_files(name, DATA)
]


@pytest.mark.skipif(not LOCAL, reason=f"no local data at {DATA}; set {DATA_ROOT_VARIABLE}")
@pytest.mark.parametrize("name", LOCAL)
def test_an_entry_fits_the_local_copy_of_its_data(name: str, tmp_path: Path) -> None:
    spec, files = RESOLVER.fetch(name, DATA)
    fetch.run(spec, files, {"fetched": tmp_path / "fetched", "record": tmp_path / "record"})
    inputs = {"fetched": tmp_path / "fetched", "record": tmp_path / "record"}
    prepare.run(RESOLVER.prepare(name, DATA), inputs, {"prepared": tmp_path / "prepared", "card": tmp_path / "card"})
    card = json.loads((tmp_path / "card").read_text())
    # rows from outside the task are a split of their own, taken out of the files' splits
    assert set(card["splits"]) == {*files, *CATALOGUE.datasets[name].outside.values()}
    assert [warning for warning in card["warnings"] if "rows; expected" in warning] == []
