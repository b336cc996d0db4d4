"""Running the upper blocks of a model a second time from a changed hidden state.

`Recorder` listens to the loop's first pass over a micro-batch and keeps what each block was given and gave;
`Recorded.again` feeds another state through the same blocks with the same masks of attention and dropout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError
from ftbench.training.dropout import DropoutState, dropout_state, same_masks

if TYPE_CHECKING:
    import torch

    from ftbench.training.method import Context


@dataclass
class Recorded:
    """One pass: the hidden state that entered the lowest recorded block, and those behind each block."""

    dropout: DropoutState
    autocast: tuple[bool, torch.dtype]
    entered: torch.Tensor
    calls: list[tuple[torch.nn.Module, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    states: list[torch.Tensor] = field(default_factory=list)

    def again(self, hidden: torch.Tensor) -> list[torch.Tensor]:
        """Hidden states (rows, tokens, width) behind each block when `hidden` enters the lowest one."""
        import torch

        enabled, kind = self.autocast
        found = []
        with same_masks(self.dropout), torch.autocast(hidden.device.type, dtype=kind, enabled=enabled):
            for block, given, named in self.calls:
                if given:
                    given = (hidden, *given[1:])
                else:
                    named = {**named, "hidden_states": hidden}
                hidden = _state(block(*given, **named))
                found.append(hidden)
        return found


class Recorder:
    """Hooks on consecutive blocks; only the first pass over a micro-batch is kept, further ones and evaluation not."""

    def __init__(self) -> None:
        self.found: Recorded | None = None
        self.marker: DropoutState | None = None  # of the micro-batch whose first pass was or is being recorded
        self.listening = False

    def attach(self, blocks: Sequence[torch.nn.Module], context: Context) -> None:
        """Listen to `blocks`, bottom first, from now on."""
        import torch

        def before(block: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            hidden = given[0] if given else named["hidden_states"]
            # the loop notes a new dropout state before each first pass, and before no other
            if block is blocks[0] and context.dropout_state is not self.marker:
                self.marker, self.listening = context.dropout_state, True
                place = hidden.device.type
                casting = torch.is_autocast_enabled(place), torch.get_autocast_dtype(place)
                self.found = Recorded(dropout_state(hidden.device), casting, hidden)
            elif self.listening and self.found and hidden is not self.found.states[-1]:
                raise FtbenchError(
                    f"{type(context.model).__name__} computes something between its blocks; methods that run upper "
                    "blocks again (lnsr) need a model whose blocks follow each other"
                )
            if self.listening and self.found:
                named = {key: _uncached(value) for key, value in named.items()}
                self.found.calls.append((block, tuple(map(_uncached, given)), named))

        def after(block: torch.nn.Module, _given: Any, output: Any) -> None:
            if self.listening and self.found:
                self.found.states.append(_state(output))
                self.listening = block is not blocks[-1]

        for block in blocks:
            block.register_forward_pre_hook(before, with_kwargs=True)
            block.register_forward_hook(after)

    def taken(self) -> Recorded:
        """What was recorded, handed over."""
        found, self.found = self.found, None
        if found is None:
            raise FtbenchError("the first pass did not go through the model's blocks, so there is nothing to run again")
        return found


def _state(output: Any) -> torch.Tensor:
    """The hidden state among what a block gives."""
    state: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return state


def _uncached(value: Any) -> Any:
    # a decoder's key cache holds this pass already; a second run would attend to it
    from transformers.cache_utils import Cache

    return None if isinstance(value, Cache) else value
