"""Bottleneck adapters: two small linear layers with an activation between, put into every block by hooks.

The model's own layers stay where they are and keep their names; the adapters become children of the blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from ftbench.training.insertion import Sites, widths

if TYPE_CHECKING:
    from collections.abc import Callable

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "swish": nn.SiLU}
SLOT = "bottleneck_slot"  # where a module keeps what its hook reads; a tuple, so that it counts as no child


@dataclass(frozen=True)
class Shape:
    """Width of the bottleneck, activation, scale of the output, and how the weights begin."""

    width: int
    activation: str
    scale: float = 1.0
    init: Literal["zero", "normal"] = "zero"
    deviation: float = 0.02


class Bottleneck(nn.Module):
    """s U act(D x + d) + u, from and to `size` features."""

    def __init__(self, size: int, shape: Shape) -> None:
        super().__init__()
        self.down = nn.Linear(size, shape.width)
        self.up = nn.Linear(shape.width, size)
        self.activation = ACTIVATIONS[shape.activation]()
        self.scale = shape.scale
        if shape.init == "normal":
            nn.init.normal_(self.down.weight, std=shape.deviation)
            nn.init.normal_(self.up.weight, std=shape.deviation)
        else:
            nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
            nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.scale * self.up(self.activation(self.down(x)))
        return found


class Tap:
    """Holds the input of a sublayer from where it is read to where it is needed."""

    def __init__(self) -> None:
        self.value: torch.Tensor | None = None

    def take(self) -> torch.Tensor:
        """The value, which is then let go."""
        value, self.value = self.value, None
        assert value is not None
        return value


def _read(module: nn.Module, arguments: tuple[Any, ...]) -> None:
    getattr(module, SLOT + "_input")[0].value = arguments[0]


def _behind(module: nn.Module, _: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
    (adapter,) = getattr(module, SLOT)
    found: torch.Tensor = output + adapter(output)
    return found


def _beside(module: nn.Module, _: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
    adapter, tap = getattr(module, SLOT)
    found: torch.Tensor = output + adapter(tap.take())
    return found


def _behind_norm(module: nn.Module, _: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
    adapter, tap, norm = getattr(module, SLOT)
    found: torch.Tensor = output + adapter(norm(output + tap.take()))
    return found


def _add(model: nn.Module, block: str, name: str, linear: str, shape: Callable[[int], Shape]) -> Bottleneck:
    """A new adapter as child `name` of a block, as wide as the outputs of one of its layers and on its device."""
    beside = model.get_submodule(linear)
    size = widths(beside)[1]
    adapter = Bottleneck(size, shape(size)).to(next(beside.parameters()).device)
    model.get_submodule(block).add_module(name, adapter)
    return adapter


def _tapped(model: nn.Module, site: Sites) -> Tap:
    tap, first = Tap(), model.get_submodule(site.feed_forward_inputs[0])
    setattr(first, SLOT + "_input", (tap,))
    first.register_forward_pre_hook(_read)
    return tap


def _hook(model: nn.Module, place: str, hook: Any, *slot: object) -> None:
    module = model.get_submodule(place)
    setattr(module, SLOT, slot)
    module.register_forward_hook(hook)


def add_behind_attention(model: nn.Module, sites: list[Sites], shape: Callable[[int], Shape]) -> None:
    """h <- h + adapter(h) on what every attention layer adds to the residual stream; `shape` takes its width."""
    for site in sites:
        adapter = _add(model, site.block, "attention_adapter", site.attention.linear, shape)
        _hook(model, site.attention.place, _behind, adapter)


def add_behind_feed_forward(
    model: nn.Module, sites: list[Sites], shape: Callable[[int], Shape], normalised: bool = False
) -> None:
    """h <- h + adapter(h) on what every feed-forward layer adds to the residual stream. `normalised`: the adapter
    reads the block's closing normalisation of the residual sum instead, in blocks that have one."""
    for site in sites:
        adapter = _add(model, site.block, "feed_forward_adapter", site.feed_forward.linear, shape)
        if normalised and site.closing_norm is not None:
            norm = model.get_submodule(site.closing_norm)
            _hook(model, site.feed_forward.place, _behind_norm, adapter, _tapped(model, site), norm)
        else:
            _hook(model, site.feed_forward.place, _behind, adapter)


def add_beside_feed_forward(model: nn.Module, sites: list[Sites], shape: Callable[[int], Shape]) -> None:
    """h <- h + adapter(x), x being the input of the feed-forward layer."""
    for site in sites:
        adapter = _add(model, site.block, "parallel_adapter", site.feed_forward.linear, shape)
        _hook(model, site.feed_forward.place, _beside, adapter, _tapped(model, site))
