"""Layer-wise learning-rate decay: the deeper a block, the smaller its learning rate.

Paper: Zhang et al. (2021), Revisiting Few-sample BERT Fine-tuning. Reference code:
asappresearch/revisit-bert-finetuning @ 0aa4f4e. With L blocks, block l counted from 1 at the bottom has the rate
eta d^(L-l+1), the embeddings eta d^(L+1), pooler and head eta.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Method
from ftbench.training.layers import layer_groups

if TYPE_CHECKING:
    from ftbench.methods.base import Context


class Llrd(Method):
    """Split the optimiser's groups by depth; every trained parameter stays in exactly one of them."""

    name = "llrd"
    summary = "learning rates that decay from the top block down to the embeddings"
    paper = "Zhang et al. (2021), Revisiting Few-sample BERT Fine-tuning"
    reference_code = "asappresearch/revisit-bert-finetuning @ 0aa4f4e"
    formula = "block l of L: eta d^(L-l+1); embeddings: eta d^(L+1); pooler and head: eta, without decay"
    deviations = (
        "a last normalisation behind the blocks is treated like the pooler; relative positions like embeddings",
        "d = 1 is plain fine-tuning, head decay included, as in the reference",
    )
    search = {"settings.decay": (0.9, 0.95)}  # commonly searched

    class Config(Strict):
        decay: float = Field(0.95, gt=0, le=1, description="d: factor on the rate from one block to the one below")

    def parameter_groups(self, groups: list[dict[str, Any]], context: Context) -> list[dict[str, Any]]:
        """Groups with the highest rate first: head and what lies behind the blocks, blocks from the top, embeddings.
        Rates and decays that other methods gave are kept, times the factor of the depth."""
        if self.config.decay == 1:
            return groups
        depths = layer_groups(context.model)
        power = dict.fromkeys((*depths.top, *depths.head), 0)
        for level, names in enumerate((*reversed(depths.blocks), depths.embeddings), start=1):
            power |= dict.fromkeys(names, level)
        found: dict[tuple[int, int], dict[str, Any]] = {}
        for index, group in enumerate(groups):
            for name, parameter in zip(group["names"], group["params"], strict=True):
                level, place = power[name], index
                entry = {**group, "params": [], "names": [], "lr": group["lr"] * self.config.decay**level}
                if level == 0:  # no decay there, so that weights and biases of one rate are one group
                    entry["weight_decay"] = 0.0
                    place = next(at for at, known in enumerate(groups) if known["lr"] == group["lr"])
                entry = found.setdefault((level, place), entry)
                entry["params"].append(parameter)
                entry["names"].append(name)
        return [found[key] for key in sorted(found)]
