"""What a soup says about itself: the record `recipe.json` and the model card beside its weights.

Called by the soup stage. The record holds all that one needs to make the soup again: ingredients with the digests
of their files, weights, recipe, settings, scores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ftbench.soups.base import Candidate, Decision


def common(spec: Any, left_out: Mapping[str, str]) -> dict[str, Any]:
    """What stands in the record of every soup, a failed one included."""
    named = {"study", "task", "model", "method", "variant", "family", "over", "recipe", "select_metric", "kind", "form"}
    return {
        "soup_id": spec.artifact,
        **spec.model_dump(include=named),
        "params_json": json.dumps(spec.config, sort_keys=True),
        "config_json": spec.canonical(),
        "labels": spec.labels,
        "left_out": dict(left_out),
        "n_left_out": len(left_out),
        "accum_dtype": spec.accumulate,
    }


def failed(spec: Any, left_out: Mapping[str, str]) -> dict[str, Any]:
    """The record of a soup of which no ingredient is left."""
    return {
        **common(spec, left_out),
        "status": "failed",
        "error": "no ingredient is left: " + "; ".join(f"{run} {why}" for run, why in left_out.items()),
        "n_candidates": 0,
        "n_ingredients": 0,
        "ingredients": [],
    }


def told(
    records: Mapping[str, Mapping[str, Any]], candidates: Sequence[Candidate], decision: Decision
) -> dict[str, Any]:
    """What was decided, and from what."""
    first = records[candidates[0].run_id]
    shared = ("architecture", "tokenizer_digest", "base_digest", "init_hash", "init_seed")
    return {
        "status": "success",
        "error": None,
        "start": {key: first.get(key) for key in shared},
        "details": decision.details,
        "best_single_run_id": candidates[0].run_id,
        "n_candidates": len(candidates),
        "n_ingredients": len(decision.weights),
        "ingredients": [
            {
                "position": position,
                "run_id": candidate.run_id,
                "weight": _weight(decision, candidate.run_id),
                "candidate_rank": position,
                "select_score": candidate.score,
                "trial_score": decision.trials.get(candidate.run_id),
                "accepted": candidate.run_id in decision.weights,
                "checkpoint_sha256": records[candidate.run_id].get("checkpoint_sha256"),
            }
            for position, candidate in enumerate(candidates)
        ],
    }


def _weight(decision: Decision, run_id: str) -> float | None:
    if run_id not in decision.weights:
        return 0.0
    return None if decision.varying else decision.weights[run_id]


def card(record: Mapping[str, Any]) -> str:
    """The model card: Markdown with what went in, what it scored, and how to load it."""
    labels = ", ".join(f"{number} {label}" for number, label in enumerate(record["labels"])) or "one score"
    lines = [
        f"# {record['soup_id']}",
        "",
        f"A soup by the recipe `{record['recipe']}` with the settings `{record['params_json']}`, made in the study"
        f" `{record['study']}` for the task `{record['task']}` from runs of `{record['model']}`.",
        "",
        f"Outputs: {labels}.",
        "",
    ]
    if record["status"] != "success":
        return "\n".join([*lines, f"It failed: {record['error']}."]) + "\n"
    lines += [
        f"On {record['select_rows']} selection rows, {record['select_metric']}: {record['select_score']:.4f};"
        f" the best single run, {record['best_single_run_id']}: {record['best_single_score']:.4f}."
        " These rows chose the soup, so its score on them is no estimate; see the table `metrics` for test scores.",
        "",
        f"| run | weight | {record['select_metric']} on select | sha256 of its weights |",
        "| --- | --- | --- | --- |",
    ]
    for item in record["ingredients"]:
        weight = "by tensor" if item["weight"] is None else f"{item['weight']:.4g}"
        digest = str(item["checkpoint_sha256"])[:16]
        lines.append(f"| {item['run_id']} | {weight} | {item['select_score']:.4f} | {digest} |")
    lines += [f"| {run} | left out: {why} | | |" for run, why in record["left_out"].items()]
    if record.get("form") == "as_runs":
        methods = ", ".join(plug["name"] for plug in record["methods"])
        holds = f"one adapter of `{methods}`" if methods else "the entries that differ from the start"
        lines += [
            "",
            f"`model.safetensors` beside this file holds {holds}, with head and pooler; `recipe.json` holds the whole"
            " record. To load it with transformers, write plain weights first:"
            f" `ftbench export {record['soup_id']} DIR --study {record['study']}`.",
        ]
        return "\n".join(lines) + "\n"
    lines += [
        "",
        "`model.safetensors` beside this file holds all weights under the names of the plain `transformers` model for"
        f" sequence classification ({record['start']['architecture'] or record['model']}); `recipe.json` holds the"
        " whole record. To load it with the tokenizer and the label names of the study:",
        "",
        "```python",
        "from safetensors.torch import load_model",
        "from transformers import AutoModelForSequenceClassification",
        "",
        "# SNAPSHOT: the folder models/<model>/snapshot of the study's results",
        f"build, count = AutoModelForSequenceClassification.from_pretrained, {max(1, len(record['labels']))}",
        "model = build(SNAPSHOT, num_labels=count, local_files_only=True)",
        'load_model(model, "model.safetensors")',
        "```",
    ]
    return "\n".join(lines) + "\n"
