"""Modules of the peft library put into a model in place: reparameterised linear layers, and taking them out again.

The model stays the object it is and keeps its class, so that other methods see its blocks and its head.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def inject(config: Any, model: torch.nn.Module) -> None:
    """Replace the target layers of a peft configuration; draws from torch's global generator."""
    from peft import inject_adapter_in_model

    with warnings.catch_warnings():
        # it sets the right value for transposed layers itself, and says so
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set")
        inject_adapter_in_model(config, model)


def fold(model: torch.nn.Module) -> None:
    """Fold every injected layer into its base layer and put that back: plain weights under plain names."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            model.set_submodule(name, module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
