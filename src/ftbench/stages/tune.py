"""Stage `tune`: which of the settings tried for a method its runs will use, by the `select` rows alone.

It reads the records of the trials and nothing else; no evaluation set has been predicted by then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftbench.config.strict import Strict


class Spec(Strict):
    study: str
    task: str
    model: str
    method: str
    trials: list[str]  # in the order of the draws
    seeds: list[int]
    settings: dict[str, dict[str, Any]]  # by trial, as the study would write them


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Inputs `TRIAL_SEED`: records of the trials. Output `tuned`: the choice with every score behind it.

    The highest mean over the seeds wins, the earliest among equals; a trial that failed with any seed loses to
    all that did not.
    """
    tried = []
    for trial in spec.trials:
        records = [json.loads(inputs[f"{trial}_{seed}"].read_text()) for seed in spec.seeds]
        scores = [record["select_score"] if record["status"] != "failed" else None for record in records]
        known = [score for score in scores if score is not None]
        tried.append(
            {
                "trial": trial,
                "settings": spec.settings[trial],
                "statuses": [record["status"] for record in records],
                "scores": scores,
                "mean_score": sum(known) / len(known) if len(known) == len(scores) else None,
                "train_seconds": sum(record["train_seconds"] for record in records),
            }
        )
    scored = [row for row in tried if row["mean_score"] is not None]
    chosen = max(scored, key=lambda row: row["mean_score"])["trial"] if scored else spec.trials[0]
    metric = json.loads(next(iter(inputs.values())).read_text())["select_metric"]
    content = {
        **spec.model_dump(include={"study", "task", "model", "method", "seeds"}),
        "select_metric": metric,
        "chosen": chosen,
        "trials": tried,
    }
    outputs["tuned"].write_text(json.dumps(content, indent=1))
    best = next(row for row in tried if row["trial"] == chosen)
    print(f"{chosen} of {len(tried)} settings: {best['settings']}, {metric} on select {best['mean_score']}", flush=True)
