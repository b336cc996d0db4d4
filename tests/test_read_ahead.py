"""Ingredients are read ahead: every byte asked for once, before it is used, and nothing where the system cannot."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ftbench.merging import read_ahead
from ftbench.merging.source import Source, open_ingredient
from ftbench.merging.streaming import Merger, mean_rule

SHAPES = {"a": (300, 7), "b": (3,), "c": (40, 40), "d": (1000,)}


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Source]:
    with ExitStack() as stack:
        found = {}
        for number in range(3):
            file = tmp_path / f"{number}.safetensors"
            save_file({name: torch.full(shape, float(number)) for name, shape in SHAPES.items()}, file)
            found[str(number)] = stack.enter_context(open_ingredient(file))
        yield found


def _asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """What the system is asked for from now on: file, first byte, bytes."""
    found: list[tuple[str, int, int]] = []

    def note(handle: int, begin: int, size: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        found.append((str(Path(f"/proc/self/fd/{handle}").readlink()), begin, size))

    monkeypatch.setattr(os, "posix_fadvise", note)
    return found


def test_a_place_holds_the_bytes_of_its_tensor(sources: dict[str, Source]) -> None:
    file, begin, end = sources["2"].place("c")
    raw = file.read_bytes()[begin:end]
    assert torch.equal(torch.frombuffer(bytearray(raw), dtype=torch.float32), torch.full((1600,), 2.0))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not tell the names of open files")
def test_every_byte_is_asked_for_once_and_in_time(sources: dict[str, Source], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "AHEAD", 2000)
    monkeypatch.setattr(read_ahead, "_STRETCH", 512)
    asked = _asked(monkeypatch)
    ahead = read_ahead.ReadAhead()
    order = sorted(SHAPES, key=lambda name: sources["0"].place(name)[1])
    for name in order:
        ahead.at(sources.values(), name)
        _until_idle(ahead)
        for source in sources.values():
            file, begin, end = source.place(name)
            bytes_of = [one for path, first, size in asked if path == str(file) for one in range(first, first + size)]
            assert set(range(begin, end)) <= set(bytes_of)
            assert len(bytes_of) == len(set(bytes_of))
            assert max(bytes_of) < end + 2000


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not tell the names of open files")
def test_files_are_asked_for_in_turn(sources: dict[str, Source], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "_STRETCH", 512)
    asked = _asked(monkeypatch)
    ahead = read_ahead.ReadAhead()
    ahead.at(sources.values(), "a")
    _until_idle(ahead)
    assert len({path for path, _, _ in asked[:3]}) == 3
    assert len({begin for _, begin, _ in asked[:3]}) == 1


def test_another_round_is_asked_for_again(sources: dict[str, Source], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _asked(monkeypatch)
    ahead = read_ahead.ReadAhead()
    for name in ("d", "a"):  # against the order of the file
        ahead.at(list(sources.values())[:1], name)
    _until_idle(ahead)
    places = {sources["0"].place(name)[1] for name in ("d", "a")}
    assert {begin for _, begin, _ in asked} >= {min(places)}


def test_merges_are_right_where_the_system_cannot_be_asked(
    sources: dict[str, Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fadvise")
    merged = dict(Merger(sources, mean_rule({"0": 0.5, "1": 0.25, "2": 0.25})).tensors())
    assert all(torch.equal(merged[name], torch.full(shape, 0.75)) for name, shape in SHAPES.items())


def _until_idle(ahead: read_ahead.ReadAhead) -> None:
    ahead._worker.submit(time.time).result(timeout=30)
