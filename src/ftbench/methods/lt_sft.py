"""LT-SFT: train in full, keep the k entries that moved most, rewind, and train only those.

Paper: Ansell et al. (2022), Composable Sparse Fine-Tuning for Cross-Lingual Transfer. Reference code:
cambridgeltl/composable-sft @ 29f7872. Each iteration is a full and a sparse phase with an optimiser and a schedule
of their own; the phases share the steps of the run. The head is always trained in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method, State
from ftbench.training.freezing import Frozen, second_selection
from ftbench.training.layers import is_head, normalisation_names
from ftbench.training.masks import largest_pooled

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
    from ftbench.methods.base import Context


class LtSft(Method):
    """Even phases train everything; odd ones begin with a selection and a rewind, and train the selection."""

    name = "lt_sft"
    summary = "lottery-ticket sparse fine-tuning: the entries that moved most are rewound and trained alone"
    paper = "Ansell et al. (2022), Composable Sparse Fine-Tuning for Cross-Lingual Transfer"
    reference_code = "cambridgeltl/composable-sft @ 29f7872"
    formula = "M |= top k/n of |theta_full - theta_0| outside M; theta <- its value before the iteration; g <- g * M"
    deviations = (
        "the phases share the steps of the run, so that methods compare at equal cost (the reference states a length "
        "for each phase); double `epochs` for the cost of two trainings",
        "entries that tie at the threshold never exceed the budget (the reference keeps all of them)",
        "with `keep: best` the best of the last phase is kept; a full phase hands on its last weights",
    )
    cost = Cost(forward=1.0, backward=1.0, memory="two copies of all weights and 1 mask byte per weight")
    search = {"settings.share": (0.01, 0.05, 0.1)}  # 0.01 is the reference's; the paper names numbers of entries
    selects_entries = True
    saves = "difference"
    needs_initial = True

    class Config(Strict):
        share: float = Field(
            0.01, gt=0, le=1, description="of the pretrained part's entries that the sparse phase trains"
        )
        entries: int | None = Field(None, gt=0, description="k: that number instead of a share")
        iterations: int = Field(1, ge=1, description="n: rounds of full and sparse training; each adds k/n entries")
        full_share: float = Field(0.5, gt=0, lt=1, description="share of each round's steps that train in full")
        l1: float = Field(0.0, ge=0, description="lambda: adds lambda/#parameters * sum |theta - theta_0| to the loss")
        freeze_normalisation: bool = Field(
            False, description="leave layer norms as they are, as the released scripts do"
        )
        frozen: Literal["gradient", "hard"] = Field(
            "gradient",
            description="gradient: masked gradient (reference; needs weight decay 0); hard: entries are held",
        )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.masks: dict[str, torch.Tensor] = {}
        self.start: dict[str, torch.Tensor] = {}  # weights at the start of the second and later iterations
        self.frozen = Frozen(config.frozen)

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        reasons = second_selection(cls.name, others)
        reasons += [
            f"`{cls.name}` with `{other.name}`, which has phases of its own; expected one of them"
            for other in others
            if other.phases is not Method.phases
        ]
        if config.frozen == "gradient" and training.weight_decay > 0:
            reasons.append(
                f"`training.weight_decay: {training.weight_decay}`, which would move entries outside the selection; "
                "expected 0, or `frozen: hard` in the method's settings"
            )
        return reasons

    @classmethod
    def check_steps(cls, config: Any, steps: int, per_epoch: int | None) -> list[str]:
        return _short(config, steps)

    def phases(self, steps: int) -> list[int]:
        """Full and sparse by turns; too few steps for one of each phase raise an `FtbenchError`."""
        for reason in _short(self.config, steps):
            raise FtbenchError(f"`{self.name}`: found {reason}")
        return _lengths(self.config, steps)

    def prepare_model(self, context: Context) -> None:
        if not self.config.freeze_normalisation:
            return
        frozen = normalisation_names(context.model)
        for name, parameter in context.model.named_parameters():
            if name in frozen and not is_head(name, context.model):
                parameter.requires_grad_(False)

    def maskable(self, context: Context) -> dict[str, torch.Tensor]:
        """Trained parameters of the pretrained part."""
        return {
            name: parameter
            for name, parameter in context.model.named_parameters()
            if parameter.requires_grad and not is_head(name, context.model)
        }

    def prologue(self, context: Context) -> None:
        import torch

        if context.phase == 0:
            self._budget(context)
        with torch.no_grad():
            if context.phase % 2 == 0:
                named = context.model.named_parameters()
                self.start = {name: tensor.detach().clone() for name, tensor in named} if context.phase else {}
                return
            self._select(context)
            start = self.start or context.initial
            for name, parameter in context.model.named_parameters():
                parameter.copy_(start[name])
            self.start = {}

    def _budget(self, context: Context) -> int:
        """Entries that one iteration adds."""
        available = sum(parameter.numel() for parameter in self.maskable(context).values())
        wanted = self.config.entries if self.config.entries is not None else int(self.config.share * available)
        if not self.config.iterations <= wanted <= available:
            raise FtbenchError(
                f"`{self.name}`: found a budget of {wanted} entries for {self.config.iterations} iterations; expected "
                f"between {self.config.iterations} and the {available} entries that can be selected. Change `entries` "
                "or `share` in the method's settings."
            )
        return int(wanted // self.config.iterations)

    def _select(self, context: Context) -> None:
        moved = {}
        for name, parameter in self.maskable(context).items():
            distance = (parameter.detach() - context.initial[name]).abs().float()
            if name in self.masks:
                distance[self.masks[name]] = -1.0  # selected before: behind every other entry
            moved[name] = distance
        for name, mask in largest_pooled(moved, self._budget(context)).items():
            self.masks[name] = mask | self.masks[name] if name in self.masks else mask

    def gradients_ready(self, context: Context) -> None:
        import torch

        scale = self.config.l1 / sum(parameter.numel() for parameter in context.model.parameters())
        for name, parameter in context.model.named_parameters():
            if parameter.grad is None:
                continue
            if scale:
                parameter.grad.add_(torch.sign(parameter.detach() - context.initial[name]), alpha=scale)
            if context.phase % 2 and name in self.masks:
                self.frozen.apply(parameter, self.masks[name])

    def after_step(self, context: Context) -> None:
        self.frozen.settle()

    def export(self, state: dict[str, torch.Tensor], context: Context) -> dict[str, torch.Tensor]:
        from ftbench.training.artifact import changed_entries

        return changed_entries(state, context)

    def state_dict(self) -> State:
        parts = {"masks": self.masks, "start": self.start}
        return {f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()}

    def load_state_dict(self, state: State) -> None:
        parts: dict[str, dict[str, torch.Tensor]] = {"masks": {}, "start": {}}
        for key, tensor in state.items():
            part, _, name = key.partition("/")
            parts[part][name] = tensor
        self.masks, self.start = parts["masks"], parts["start"]


def _lengths(config: Any, steps: int) -> list[int]:
    """Steps of each phase; their sum is `steps`."""
    ends = [round(steps * part / config.iterations) for part in range(config.iterations + 1)]
    found = []
    for begin, end in pairwise(ends):
        full = round((end - begin) * config.full_share)
        found += [full, end - begin - full]
    return found


def _short(config: Any, steps: int) -> list[str]:
    """The reason why a run of `steps` steps has an empty phase, if it has."""
    if min(_lengths(config, steps)) > 0:
        return []
    enough = steps + 1
    while min(_lengths(config, enough)) == 0:
        enough += 1
    return [
        f"a run of {steps} steps, in which one of its {2 * config.iterations} phases has none; "
        f"expected at least {enough} steps with these settings"
    ]
