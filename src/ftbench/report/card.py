"""The model card of an exported artifact: what it is, what it was made of, how it scored, how to load it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MOST_INGREDIENTS = 40  # rows of the table; the record has all

LOADING = """```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "."  # the folder of this file
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
inputs = tokenizer({example}, truncation=True, max_length={longest}, return_tensors="pt")
print({result})
```"""


def model_card(
    artifact: str,
    record: Mapping[str, Any],
    scores: Sequence[Mapping[str, Any]],
    base: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> str:
    """Markdown with front matter. `record`: run.json or recipe.json; `scores`: rows of the table `metrics`; `base`:
    title, repository, revision and licence of the base model; `settings`: kind, labels, max_length, pair, merged."""
    parts = [
        _front_matter(base),
        f"# {record['study']}: {artifact}",
        _summary(artifact, record, base, settings),
        "## How to load it",
        _loading(settings),
        "## Scores",
        _scores(scores),
    ]
    if record.get("ingredients"):
        parts += ["## Ingredients", _ingredients(record["ingredients"])]
    if record.get("methods"):
        plugs = {plug["name"]: plug["config"] for plug in record["methods"]}
        parts += ["## Settings", "```json\n" + json.dumps(_settings(record, plugs), indent=1) + "\n```"]
    parts += ["## Where it comes from", _provenance(record, base)]
    return "\n\n".join(parts) + "\n"


def _front_matter(base: Mapping[str, Any]) -> str:
    import yaml

    content: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-classification"}
    if base.get("repository"):
        content["base_model"] = base["repository"]
    return "---\n" + yaml.safe_dump(content, sort_keys=False).strip() + "\n---"


def _summary(artifact: str, record: Mapping[str, Any], base: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    what = "The average of several runs" if artifact.startswith("soups/") else f"One run, seed {record.get('seed')},"
    lines = [
        f"{what} of the method `{record['method']}` (variant `{record['variant']}`) on the task `{record['task']}`, "
        f"from {base['title']}.",
        "Labels, in the order of the logits: " + ", ".join(f"`{label}`" for label in settings["labels"]) + "."
        if settings["kind"] == "classification"
        else "One output: the score.",
    ]
    if settings["merged"]:
        lines.append("What the method added was merged into the weights; predictions are the same up to rounding.")
    if record.get("status") == "collapsed":
        lines.append(f"**This run collapsed**: {record.get('error')}.")
    return "\n\n".join(lines)


def _loading(settings: Mapping[str, Any]) -> str:
    example = '"first text", "second text"' if settings["pair"] else '"a text"'
    result = (
        "model.config.id2label[int(model(**inputs).logits.argmax())]"
        if settings["kind"] == "classification"
        else "float(model(**inputs).logits)"
    )
    return LOADING.format(example=example, longest=settings["max_length"], result=result)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join("---" for _ in header) + " |"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _scores(scores: Sequence[Mapping[str, Any]]) -> str:
    if not scores:
        return "Not scored yet."

    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    rows = [
        (f"`{row['eval_set']}`", row["role"], row["metric"], shown(row["value"]),
         f"{shown(row['ci_low'])} to {shown(row['ci_high'])}" if row["ci_low"] is not None else "", str(row["n"]))
        for row in scores
    ]  # fmt: skip
    note = (
        "Fractions, with 95 % bootstrap intervals over examples. Role: `id` as in training, `ood` shifted, `stress` "
        "built to mislead, `prior` the task from before fine-tuning under its own head, `select` chosen on."
    )
    return note + "\n\n" + _table(("set", "role", "metric", "value", "interval", "rows"), rows)


def _ingredients(ingredients: Sequence[Mapping[str, Any]]) -> str:
    rows = [(f"`{item['run_id']}`", f"{item['weight']:.4f}") for item in ingredients if item["weight"]]
    left = len(ingredients) - len(rows)
    note = f"{len(rows)} runs; {left} more were tried or listed and have no weight." if left else f"{len(rows)} runs."
    if len(rows) > MOST_INGREDIENTS:
        note += f" The first {MOST_INGREDIENTS}:"
    return note + "\n\n" + _table(("run", "weight"), rows[:MOST_INGREDIENTS])


def _settings(record: Mapping[str, Any], plugs: Mapping[str, Any]) -> dict[str, Any]:
    content = json.loads(record["config_json"])
    return {"methods": plugs, "training": content.get("training", {}), "steps": record.get("steps")}


def _provenance(record: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    known = {
        "base model": " at ".join(str(base[key]) for key in ("repository", "revision") if base.get(key)),
        "terms of the base model": base.get("licence"),
        "training rows": record.get("train_rows"),
        "commit of the code": record.get("git_commit"),
        "with uncommitted changes": record.get("git_dirty"),
        "versions": record.get("versions"),
        "device": record.get("device"),
        "ended at": record.get("ended_at"),
        "sha256 of the artifact's file": record.get("checkpoint_sha256"),
    }
    return "\n".join(f"- {key}: {value}" for key, value in known.items() if value not in (None, ""))
