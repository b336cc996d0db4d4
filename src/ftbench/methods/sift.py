"""SIFT: of each attention matrix, train the k entries that have the largest gradient in the first step.

Paper: Song et al. (2024), Sparse is Enough in Fine-tuning Pre-trained Large Language Models. Reference code:
song-wx/SIFT @ 5bef8a0. The optimiser holds a vector of the k entries and its moments; all other entries, and all
other tensors but the head, stay bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method, State
from ftbench.training.freezing import second_selection
from ftbench.training.layers import ATTENTION, block_linears, is_head

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
    from ftbench.methods.base import Context


class Sift(Method):
    """Gradients are cut to the selection before clipping and handed to the vectors after it."""

    name = "sift"
    summary = "sparse increments: a fixed share of each attention matrix, chosen by the first gradient"
    paper = "Song et al. (2024), Sparse is Enough in Fine-tuning Pre-trained Large Language Models"
    reference_code = "song-wx/SIFT @ 5bef8a0"
    formula = "I = k largest |g_1| of W, k = min(floor(r n) + 1, n); W[I] <- AdamW(W[I], g[I])"
    deviations = (
        "the first step selects and trains (the released code spends a batch on the selection, and of several "
        "micro-batches uses one)",
        "updates act at once on every selected tensor; `delayed_reference` has the released behaviour: each increment "
        "is written during the next backward, the last one never, and one tensor is not trained at all",
        "weight decay acts on the selected entries (void in the released code)",
        "a step's full gradient of each selected tensor exists until it is cut",
    )
    # gradients of the attention's weights, a third of a block's
    cost = Cost(
        forward=1.0,
        backward=1 / 3,
        frozen_backward=2 / 3,
        memory="optimiser state of the selected entries and the head",
    )
    search = {"training.learning_rate": (5e-5, 7e-5, 8e-5)}  # of the released scripts
    selects_entries = True
    needs_initial = True
    saves = "difference"

    class Config(Strict):
        share: float = Field(0.008, gt=0, le=1, description="r: share of each tensor that is trained")
        biases: bool = Field(True, description="select in the attention's biases too, as the released scripts do")
        delayed_reference: bool = Field(False, description="the released code's behaviour instead of the paper's rule")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.tensors: dict[str, torch.Tensor] = {}  # that are selected in
        self.vectors: dict[str, torch.Tensor] = {}  # what the optimiser trains: values, or pending increments
        self.indices: dict[str, torch.Tensor] = {}  # flat positions, (k,)
        self.untrained = ""  # with `delayed_reference`: the tensor whose gradient comes last
        self.hooks: list[Any] = []

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        reasons = second_selection(cls.name, others)
        for other in others:
            if other.wrap_optimizer is not Method.wrap_optimizer or other.name == "child_tuning_f":
                reasons.append(
                    f"`{cls.name}` with `{other.name}`, which knows nothing of the vectors that the optimiser trains; "
                    "expected one of them"
                )
        if config.delayed_reference and training.weight_decay > 0:
            reasons.append(
                f"`training.weight_decay: {training.weight_decay}` with `delayed_reference`, where it would act on the "
                "head alone; expected 0"
            )
        return reasons

    def refuse_model(self, model: torch.nn.Module) -> None:
        self._selectable(model)

    def _selectable(self, model: torch.nn.Module) -> set[str]:
        """Names of the attention's tensors; a model without attention layers that are known raises an error."""
        selected = set()
        for linear in block_linears(model):
            if linear.role in ATTENTION:
                selected.add(f"{linear.name}.weight")
                if self.config.biases and getattr(linear.module, "bias", None) is not None:
                    selected.add(f"{linear.name}.bias")
        if not selected:
            raise FtbenchError(
                f"`{self.name}`: found no attention layer that it knows in {type(model).__name__}; "
                "expected one of the supported families"
            )
        return selected

    def prepare_model(self, context: Context) -> None:
        """Freeze everything but the selected tensors and the head."""
        selected = self._selectable(context.model)
        for name, parameter in context.model.named_parameters():
            if name not in selected and not is_head(name, context.model):
                parameter.requires_grad_(False)

    def parameter_groups(self, groups: list[dict[str, Any]], context: Context) -> list[dict[str, Any]]:
        """Each tensor's vector joins its group. The tensor stays, for its gradient to be unscaled; it has none when
        the optimiser steps."""
        import torch

        self.tensors, self.vectors, changed = {}, {}, []
        for group in groups:
            group = {**group, "params": list(group["params"]), "names": list(group["names"])}
            for name, tensor in list(zip(group["names"], group["params"], strict=True)):
                if is_head(name, context.model):
                    continue
                count = min(int(self.config.share * tensor.numel()) + 1, tensor.numel())
                self.tensors[name] = tensor
                self.vectors[name] = torch.nn.Parameter(torch.zeros(count, dtype=tensor.dtype, device=tensor.device))
                group["params"].append(self.vectors[name])
                group["names"].append(name)
            changed.append(group)
        if self.config.delayed_reference:
            for name, tensor in self.tensors.items():
                hook = tensor.register_post_accumulate_grad_hook(self._arrived(name))  # type: ignore[no-untyped-call]
                self.hooks.append(hook)
        return changed

    def _arrived(self, name: str) -> Any:
        def note(_: torch.Tensor) -> None:
            self.untrained = name  # overwritten by whatever comes later

        return note

    def _end_watch(self) -> None:
        for hook in self.hooks:
            hook.remove()
        self.hooks = []

    def gradients_ready(self, context: Context) -> None:
        """Select where that is still to do, write increments that are due, and cut the gradients."""
        import torch

        self._end_watch()
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                if tensor.grad is None:
                    continue
                if self.config.delayed_reference and name == self.untrained:
                    tensor.grad = None
                    continue
                gradient, flat, vector = tensor.grad.flatten(), tensor.view(-1), self.vectors[name]
                cut = torch.zeros_like(gradient)
                if name not in self.indices:
                    self.indices[name] = gradient.abs().topk(len(vector)).indices
                    if not self.config.delayed_reference:
                        vector.copy_(flat[self.indices[name]])
                        cut[self.indices[name]] = gradient[self.indices[name]]
                else:
                    if self.config.delayed_reference:
                        flat[self.indices[name]] += vector
                        vector.zero_()
                    cut[self.indices[name]] = gradient[self.indices[name]]
                tensor.grad = cut.view_as(tensor)

    def gradients_clipped(self, context: Context) -> None:
        for name, tensor in self.tensors.items():
            if tensor.grad is not None:
                self.vectors[name].grad = tensor.grad.flatten()[self.indices[name]]
                tensor.grad = None

    def after_step(self, context: Context) -> None:
        import torch

        if self.config.delayed_reference:
            return
        with torch.no_grad():
            for name, indices in self.indices.items():
                self.tensors[name].view(-1)[indices] = self.vectors[name]

    def export(self, state: dict[str, torch.Tensor], context: Context) -> dict[str, torch.Tensor]:
        from ftbench.training.artifact import changed_entries

        return changed_entries(state, context)

    def state_dict(self) -> State:
        state: State = {f"indices/{name}": tensor for name, tensor in self.indices.items()}
        state |= {f"vectors/{name}": vector.detach() for name, vector in self.vectors.items()}
        return {**state, "untrained": self.untrained}

    def load_state_dict(self, state: State) -> None:
        import torch

        self.untrained = str(state["untrained"])
        self.indices = {key.removeprefix("indices/"): tensor for key, tensor in state.items() if "indices/" in key}
        if self.indices:
            self._end_watch()
        with torch.no_grad():
            for name, vector in self.vectors.items():
                vector.copy_(state[f"vectors/{name}"])
