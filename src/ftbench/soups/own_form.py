"""Soups saved in the form of their runs: LoRA adapters as one adapter of all ranks, sparse differences as one.

Called by the stage `soup` where a study asks for `form: as_runs`. Nothing is approximated: the mean of products
B_i A_i is one product of the ranks laid side by side, and the sum of sparse differences is sparse.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError

if TYPE_CHECKING:
    import torch

    from ftbench.merging.streaming import Merger
    from ftbench.soups.base import Decision
    from ftbench.soups.laboratory import Laboratory

LORA_A, LORA_B = ".lora_A.", ".lora_B."  # as peft names the two factors


def as_runs(
    files: Mapping[str, Path],
    records: Mapping[str, Mapping[str, Any]],
    decision: Decision,
    merger: Merger,
    laboratory: Laboratory,
) -> tuple[dict[str, torch.Tensor], dict[str, str], list[dict[str, Any]]]:
    """Tensors and header of the soup's file, and the methods that its record names; `files` are those of the runs.

    Runs of other methods than LoRA or a sparse one, and adapters that are no weighted mean, raise an `FtbenchError`.
    """
    from ftbench.training.artifact import SAVES, form_of

    forms = {run: form_of(files[run]) for run in decision.weights}
    if set(forms.values()) == {"difference"}:
        return _difference(merger, laboratory), {SAVES: "difference"}, []
    for run, form in forms.items():
        methods = [plug["name"] for plug in records[run].get("methods") or []]
        if form != "adapter" or methods != ["lora"]:
            raise FtbenchError(
                f"{run}: found weights in the form `{form}` by the methods {methods}; `form: as_runs` expects runs of "
                "`lora` alone, or of methods that save sparse differences, all in one form. Use `form: plain`."
            )
    if decision.rule is not None or decision.varying:
        raise FtbenchError(
            "found a recipe that is no weighted mean of whole runs; adapters are concatenated exactly only for one. "
            "Use `form: plain`."
        )
    configs = {run: records[run]["methods"][0]["config"] for run in decision.weights}
    tensors = concatenated({run: files[run] for run in decision.weights}, configs, decision.weights)
    rank = sum(int(config["rank"]) for config in configs.values())
    # the factor alpha / r of each run is inside its B
    config = {**next(iter(configs.values())), "rank": rank, "alpha": float(rank), "dropout": 0.0}
    return tensors, {SAVES: "adapter"}, [{"name": "lora", "config": config}]


def concatenated(
    files: Mapping[str, Path], configs: Mapping[str, Mapping[str, Any]], weights: Mapping[str, float]
) -> dict[str, torch.Tensor]:
    """One adapter for sum_i w_i (alpha_i/r_i) B_i A_i: A = [A_1; ..; A_k] (sum of ranks, inputs) and
    B = [s_1 B_1, .., s_k B_k] (outputs, sum of ranks) with s_i = w_i alpha_i/r_i. Head and pooler are the weighted
    mean, summed in float64."""
    import torch

    from ftbench.merging.streaming import weighted_sum
    from ftbench.training.weights import load_weights

    stored = {run: load_weights(file) for run, file in files.items()}
    (first, names), *others = ((run, set(tensors)) for run, tensors in stored.items())
    for run, other in others:
        if other != names:
            raise FtbenchError(
                f"{first} and {run} cannot be concatenated: `{sorted(names ^ other)[0]}` is stored in one of them "
                "only. Their `targets` differ, or another method changed weights: use `form: plain`."
            )
    found = {}
    for name in sorted(names):
        parts = [stored[run][name] for run in weights]
        if LORA_A in name:
            found[name] = torch.cat(parts, dim=0)
        elif LORA_B in name:
            scales = [share * configs[run]["alpha"] / configs[run]["rank"] for run, share in weights.items()]
            scaled = [(scale * part.double()).to(part.dtype) for scale, part in zip(scales, parts, strict=True)]
            found[name] = torch.cat(scaled, dim=1)
        else:
            found[name] = weighted_sum(parts, list(weights.values())) if parts[0].is_floating_point() else parts[0]
    return found


def _difference(merger: Merger, laboratory: Laboratory) -> dict[str, torch.Tensor]:
    """The entries of the merged model that differ from the common start; head and pooler whole."""
    from ftbench.training.artifact import encode_difference
    from ftbench.training.layers import is_encoder

    start = laboratory.start
    assert start is not None
    before = {name: start.tensor(name) for name in start.layout}
    return encode_difference(before, dict(merger.tensors()), lambda name: not is_encoder(name, laboratory.model))
