"""A small project's configuration files on disk, for tests that change one thing in them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

STUDY: dict[str, Any] = {
    "title": "small",
    "seeds": [0, 1],
    "init": "shared",
    "models": ["tiny"],
    "tasks": {
        "reviews": {
            "train": {"dataset": "reviews"},
            "evaluate": {"test": {"dataset": "reviews", "split": "test", "role": "id"}},
            "metrics": ["accuracy"],
        }
    },
    "prior": {"dataset": "topics"},
    "methods": {"vanilla": {}, "dps_dense": {}},
    "soups": {"greedy": {"recipe": "greedy"}},
}

MODELS: dict[str, Any] = {"tiny": {"title": "tiny", "built_in": {"corpus": "corpus", "steps": 2}}}


def _entry(labels: dict[str, Any], splits: tuple[str, ...], **more: Any) -> dict[str, Any]:
    return {
        "title": "a set",
        "task": "sentiment",
        "fields": {"text_a": "text"},
        "label": "label",
        "labels": labels,
        "splits": {split: {} for split in splits},
        **more,
    }


DATASETS: dict[str, Any] = {
    "reviews": _entry({"negative": "negative", "positive": "positive"}, ("train", "validation", "test")),
    "moods": _entry({"good": 1, "bad": 0}, ("test",)),
    "topics": _entry({"people": "people", "place": "place"}, ("pool", "evaluation")),
    "scores": _entry({}, ("train", "test"), kind="regression", range=[0, 5]),
    "corpus": _entry({}, ("train",), kind="text", label=None),
}


def configured(
    root: Path,
    study: dict[str, Any] | None = None,
    datasets: dict[str, Any] | None = None,
    models: dict[str, Any] | None = None,
) -> Path:
    """Write the files of a project below `root`, which is returned; what is not given is the small default."""
    contents = {
        "studies": STUDY if study is None else study,
        "datasets": DATASETS if datasets is None else datasets,
        "models": MODELS if models is None else models,
    }
    for folder, content in contents.items():
        file = root / "config" / folder / "small.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(content, sort_keys=False))
    return root


def changed(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `content` with the value at a dotted path set."""
    content = copy.deepcopy(content)
    place = content
    *parents, last = path.split(".")
    for part in parents:
        place = place.setdefault(part, {})
    place[last] = value
    return content
