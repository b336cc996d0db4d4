"""The contract between a fine-tuning method and the training loop.

A method is one file: a frozen `Config` and a class derived from `Method` that overrides only the hooks it
needs. Every default is plain fine-tuning. The loop calls the hooks of all methods of a run in the order in
which the study lists them; a method never runs a loop of its own and never touches files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ftbench.config.strict import Strict
from ftbench.config.study import Training

if TYPE_CHECKING:
    import torch

    from ftbench.training.batches import Batch
    from ftbench.training.dropout import DropoutState
    from ftbench.training.examples import Examples
    from ftbench.training.prior_task import PriorTask

State = dict[str, Any]  # tensors, and whatever JSON can hold


@dataclass
class Context:
    """What hooks may look at. The loop owns it; methods read it and do not assign to it."""

    model: torch.nn.Module
    training: Training
    kind: str  # classification or regression
    seed: int
    total_steps: int = 0  # optimiser steps of the present phase
    step: int = 0  # number of the present optimiser step within the phase, from 1; 0 before the first
    phase: int = 0
    passes: int = 0  # number of the present micro-batch within the step, from 0
    init_seed: int = 0  # of new weights: the run's seed, or one for all runs of a study
    dropout_state: DropoutState | None = None  # of before the first pass over the present micro-batch; new for each
    steps_per_epoch: int = 0
    rows: int = 0  # training rows of the present step, over all its micro-batches
    prior: PriorTask | None = None  # where a method of the run wants it
    tokenizer: Any = None
    snapshot: Path | None = None  # folder of the base model
    work: Path | None = None  # folder for what a resumed run need not do again
    language_model: Callable[[str], torch.nn.Module] | None = None  # the base model with its own head: masked, causal
    initial: dict[str, torch.Tensor] = field(default_factory=dict)  # weights after P1 where a method asks for them
    altered: frozenset[str] = frozenset()  # pretrained weights that P1 changed, where a method saves an adapter
    forward: Callable[[Batch], torch.Tensor] | None = None  # one more forward pass: logits (rows, labels)
    task_loss: Callable[[torch.Tensor, Batch], torch.Tensor] | None = None  # of logits: cross-entropy, or its stand-in
    repeat_dropout: Callable[[Batch], None] | None = None  # before one more pass that shall drop what the first dropped
    batches: Callable[[], Iterable[Batch]] | None = None  # one pass over the training rows, for prologues

    def generator(self, method: str, purpose: str = "") -> torch.Generator:
        """The noise stream of a method at this micro-batch; the same for the same seed whatever else runs."""
        from ftbench.training.seeds import torch_generator

        within = (self.passes,) if self.passes else ()
        return torch_generator(self.seed, "noise", method, purpose, self.phase, self.step, *within)


@dataclass(frozen=True)
class PriorFacts:
    """What is known of a study's prior task before anything runs."""

    kind: str  # classification, regression or text
    rows: int | None  # of the pool, at most; None where nothing states them
    clusters: bool  # whether its rows are clustered
    aux: tuple[str, ...]  # names of what its rows can be divided by besides their losses


@dataclass(frozen=True)
class Cost:
    """Forward and backward passes per optimiser step relative to plain fine-tuning, and memory in words.

    `frozen_backward` counts backward passes that need no gradients of the encoder's weights, only of activations, about
    half of one. `tokens` is how much longer every row becomes. All at the method's default settings.
    """

    forward: float = 1.0
    backward: float = 1.0
    memory: str = "none"
    frozen_backward: float = 0.0
    tokens: int = 0

    @property
    def time(self) -> float:
        """The time of a step against plain fine-tuning, with a backward pass counted as two forward passes, one through
        frozen weights as one; what longer rows add comes on top."""
        return (self.forward + 2 * self.backward + self.frozen_backward) / 3


class Method:
    """Base of all methods; the attachment points P0 to P10 in the order in which the loop reaches them."""

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str] = ""
    reference_code: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    deviations: ClassVar[tuple[str, ...]] = ()
    cost: ClassVar[Cost] = Cost()
    search: ClassVar[Mapping[str, tuple[Any, ...]]] = {}  # the paper's grid: `settings.KEY` or `training.KEY` to values
    stays_near_start: ClassVar[bool] = False  # holds weights near their start; two such methods would count it twice
    owns_gradients: ClassVar[bool] = False  # overrides `gradients`; at most one method of a run may
    owns_criterion: ClassVar[bool] = False  # overrides `criterion`; at most one method of a run may
    alters_forward: ClassVar[bool] = False  # already the first pass of step 1 is not that of plain fine-tuning
    draws_noise: ClassVar[bool] = False  # for each micro-batch, so that accumulation gives other draws
    saves: ClassVar[str] = "model"  # all weights; `adapter`: added tensors and head; `difference`: changed entries
    adds_positions: ClassVar[bool] = False  # the model's input gets longer: its words are no longer where they were
    unmergeable: ClassVar[str] = ""  # why what an adapter adds cannot be folded into plain weights; empty where it can
    selects_entries: ClassVar[bool] = False  # trains chosen entries of a tensor; at most one method of a run may
    needs_initial: ClassVar[bool] = False  # wants `Context.initial`, a copy of the weights at step 0
    needs_prior: ClassVar[bool] = False  # wants `Context.prior`, the prior task with its pool

    class Config(Strict):
        """Settings of the method; a plug-in replaces it."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        """Reasons why these settings, this kind of task or these companions do not go with the method."""
        return []

    @classmethod
    def check_steps(cls, config: Any, steps: int, per_epoch: int | None) -> list[str]:
        """Reasons why a run of `steps` optimiser steps is too short for these settings, with the number that is
        enough. `per_epoch`: steps of one epoch, None where they are not known. Checks ask it wherever a study tells
        the steps; a method whose phases or stages depend on them refuses on its own what is found later."""
        return []

    @classmethod
    def check_prior(cls, config: Any, prior: PriorFacts, training: Training) -> list[str]:
        """Reasons why these settings do not go with the prior task; only asked where `wants_prior` is true."""
        return []

    def refuse_model(self, model: torch.nn.Module) -> None:
        """Raise an `FtbenchError` for a model that the method cannot work on. It looks at the module tree and at
        shapes alone: `ftbench check` asks with a plain model that has no weights (torch's meta device)."""

    @classmethod
    def wants_prior(cls, config: Any) -> bool:
        """Whether these settings want `Context.prior`; only runs that do depend on the prior samples."""
        return cls.needs_prior

    @classmethod
    def wants_prior_labels(cls, config: Any) -> bool:
        """Whether these settings judge rows of the task with the prior task's head, so that both have to have the
        same labels in the same order. Only asked where `wants_prior` is true."""
        return False

    @classmethod
    def uses(cls, config: Any) -> tuple[tuple[str, str], ...]:
        """Other plug-ins that these settings name, as kind and name; a run depends on their source too."""
        return ()

    def new_rows(self, batch_size: int) -> int:
        """P0 data: how many training rows a step keeps, where others take their place."""
        return batch_size

    def examples(self, examples: Examples, context: Context) -> Examples:
        """P0 data: rows before tokenisation; may add or change training rows."""
        return examples

    def prepare_model(self, context: Context) -> None:
        """P1 model: swap, add, re-initialise or freeze modules of `context.model`, before the optimiser exists."""

    def parameter_groups(self, groups: list[dict[str, Any]], context: Context) -> list[dict[str, Any]]:
        """P2 groups: the optimiser's groups (`params`, `names`, `lr`, `weight_decay`)."""
        return groups

    def phases(self, steps: int) -> list[int]:
        """P3 phases: optimiser steps of each phase; every phase has a fresh optimiser and schedule."""
        return [steps]

    def prologue(self, context: Context) -> None:
        """P3 prologue: before the first step of a phase; may run forward and backward over `context.batches`."""

    def begin_passes(self, context: Context) -> None:
        """P1 in each step: put effective weights in place for the passes of this step."""

    def criterion(self, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        """P4 loss: what takes the place of the cross-entropy (or squared error), a mean over the rows of `batch`
        from fp32 logits (rows, labels). Only called where `owns_criterion` is true."""
        raise TypeError(f"{self.name} owns the criterion but does not compute it")

    def loss(self, loss: torch.Tensor, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        """P4 loss: the loss of one micro-batch, from the loss so far and fp32 logits (rows, labels).
        Terms are added to `loss`; further passes judge their logits with `context.task_loss`."""
        return loss

    def gradients(
        self, batches: Sequence[Batch], backward: Callable[[Batch], torch.Tensor], context: Context
    ) -> torch.Tensor:
        """P5 grads: all passes of one step; `backward(batch)` adds a micro-batch's gradient and returns its share
        of the loss. Only called where `owns_gradients` is true."""
        raise TypeError(f"{self.name} owns the gradients but does not compute them")

    def end_passes(self, context: Context) -> None:
        """P1 in each step: take the effective weights out again; also called when the step will be skipped."""

    def gradients_ready(self, context: Context) -> None:
        """P6 ready: gradients accumulated, unscaled, finite, before clipping. Masks act on `.grad` here.
        Not called in a step whose gradients overflowed."""

    def gradients_clipped(self, context: Context) -> None:
        """P7 clipped: after clipping, before the optimiser."""

    def wrap_optimizer(self, optimizer: torch.optim.Optimizer, context: Context) -> torch.optim.Optimizer:
        """P8 optimiser: wrap or replace it; the result must have `step`, `zero_grad`, `state_dict`."""
        return optimizer

    def after_step(self, context: Context) -> None:
        """P9 after: after the optimiser's step, before the schedule's."""

    def evaluating(self, context: Context) -> AbstractContextManager[None]:
        """P10 evaluation: weights or modules to use while evaluating."""
        return nullcontext()

    def export(self, state: dict[str, torch.Tensor], context: Context) -> dict[str, torch.Tensor]:
        """P10 export: the weights to save. They must load into the plain model unless `saves` says otherwise."""
        return state

    def merge(self, model: torch.nn.Module) -> None:
        """Fold what an adapter added into the plain weights and take it out; not called where `unmergeable`."""
        raise TypeError(f"{self.name} adds nothing that could be merged")

    def record(self) -> dict[str, Any]:
        """Facts for the run's record, asked once at the end: `forward_rows_extra`, `rehearsed_rows`,
        `rehearsed_tokens`, `prior_head`, `prior_gradient_norm`, `split_half_cosine`, `rehearsal_trace` (rows of that
        table) and `notes` (words; those of several methods are joined)."""
        return {}

    def state_dict(self) -> State:
        """What a resumed run needs: flat, tensors or JSON values."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Take back what `state_dict` gave."""
