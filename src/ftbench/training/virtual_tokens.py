"""Virtual tokens from a network are saved as what it makes: a table, much smaller than the network.

Prefixes and prompts hold a peft module `encoder` and the `positions` it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.training.layers import backbone_prefix

if TYPE_CHECKING:
    import torch


def with_table(state: dict[str, torch.Tensor], model: torch.nn.Module, holder: str) -> dict[str, torch.Tensor]:
    """The state with the tensors of the encoder under `holder` (`prefix`, `prompt`) replaced by its output."""
    import torch

    module = model.get_submodule(backbone_prefix(model) + holder)
    prefix = f"{backbone_prefix(model)}{holder}.encoder."
    with torch.no_grad():
        table: torch.Tensor = module.get_submodule("encoder")(module.get_buffer("positions")[None])[0]
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
    return {**kept, prefix + "embedding.weight": table.float().to("cpu").contiguous()}
