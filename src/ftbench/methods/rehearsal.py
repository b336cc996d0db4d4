"""Rehearsal: rows of the prior task are trained on beside the new ones; a sampler says which.

Paper of `mix_cd`: Bai, Yeh, Hsieh and Taly (2025), An Efficient Rehearsal Scheme for Catastrophic Forgetting
Mitigation during Multi-stage Fine-tuning. No code was released. The other samplers are its rivals.
Formula: L = (b_F mean loss_F + b_P mean loss_R) / (b_F + b_P), R drawn from the pool by the sampler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ftbench.config.errors import FtbenchError
from ftbench.methods.base import Cost, Method, PriorFacts, State
from ftbench.training.prior_task import PriorModel, needed
from ftbench.training.rehearsal.damage import MixCd, MixCdOracle
from ftbench.training.rehearsal.samplers import (
    Importance,
    Knobs,
    MaxLoss,
    Mir,
    PriorLoss,
    PriorLossMax,
    Sampler,
    Uniform,
)
from ftbench.training.rehearsal.scoring import Scoring, prior_scorer
from ftbench.training.rehearsal.settings import Settings, prior_reasons, rows_of_a_step
from ftbench.training.rehearsal.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ftbench.config.study import Training
    from ftbench.methods.base import Context
    from ftbench.training.batches import Batch

SAMPLERS: dict[str, type[Sampler]] = {
    "none": Uniform, "random": Uniform, "random_correct": Uniform, "prior_loss": PriorLoss,
    "prior_loss_max": PriorLossMax, "max_loss": MaxLoss, "mir": Mir, "importance": Importance, "mix_cd": MixCd,
    "mix_cd_oracle": MixCdOracle,
}  # fmt: skip
# samplers that draw from the rows that the model got right before, unless told otherwise
CORRECT = ("random_correct", "mix_cd", "mix_cd_oracle")


class Rehearsal(Method):
    """Adds the loss of rehearsed rows to every step and keeps count of what they show."""

    name = "rehearsal"
    summary = "trains on rows of the prior task beside the new ones; mix_cd and nine other samplers"
    paper = (
        "Bai, Yeh, Hsieh and Taly (2025), An Efficient Rehearsal Scheme for Catastrophic Forgetting Mitigation during "
        "Multi-stage Fine-tuning"
    )
    reference_code = "none released"
    formula = "L = (b_F mean loss_F + b_P mean loss_R) / (b_F + b_P)"
    deviations: ClassVar[tuple[str, ...]] = (
        "discount, prior counts, floor, refresh and loss weight of mix_cd are this package's own: the paper's text says"
        " only that the rates come from the rows mixed in before",
        "rehearsed rows pass through the model in a batch of their own, with random numbers of their own",
        "with labels of its own the prior task keeps its head, frozen; with `prior.head: shared` the run's head is"
        " the prior's and is trained",
        "mir takes its virtual step along the gradient of the first micro-batch, with a fixed length",
    )
    cost = Cost(forward=1.125, backward=1.125, memory="the pool's text, three numbers a row of it")
    needs_prior: ClassVar[bool] = True
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"settings.ratio": (0, 1 / 33, 1 / 17, 1 / 9, 1 / 5, 1 / 2)}

    class Config(Settings):
        """Settings of the method."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.sampler: Sampler | None = None
        self.pending: State = {}  # a resumed state, until there is a context to restore it in
        self.steps = 0  # over all phases
        self.drawn_for = -1  # the step that the present rows belong to
        self.place = (-1, 0)  # phase and step of the loop
        self.parts: dict[bytes, tuple[int, int]] = {}  # micro-batch to its share of the rows
        self.seen: torch.Tensor | None = None  # losses and damage of the step's rows, from all micro-batches

    @classmethod
    def wants_prior(cls, config: Any) -> bool:
        return bool(config.sampler != "none" and config.ratio > 0)

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        found = []
        if any(issubclass(other, Rehearsal) for other in others):
            found.append("a second method that rehearses")
        if config.budget == "swap" and cls.wants_prior(config) and training.batch_size < 2:
            found.append("`budget: swap` with batches of one row, of which none may be taken; expected at least 2")
        if config.sampler == "mir" and cls.wants_prior(config) and training.processes > 1:
            found.append(
                f"`sampler: mir` with `training.processes: {training.processes}`, but its virtual step needs one; "
                "expected `processes: 1`, or another sampler"
            )
        return found

    @classmethod
    def check_prior(cls, config: Any, prior: PriorFacts, training: Training) -> list[str]:
        return prior_reasons(config, prior, training.batch_size)

    def new_rows(self, batch_size: int) -> int:
        if self.config.budget == "add" or not self.wants_prior(self.config):
            return batch_size
        share: float = self.config.ratio
        return batch_size - min(batch_size - 1, max(1, round(batch_size * share)))

    def count(self, batch_size: int) -> int:
        """Rows to rehearse in the present step; a fraction of a row comes up every few steps."""
        if not self.wants_prior(self.config):
            return 0
        if self.config.budget == "swap":
            return batch_size - self.new_rows(batch_size)
        each = batch_size * self.config.ratio / (1 - self.config.ratio)
        return int(self.steps * each + 1e-9) - int((self.steps - 1) * each + 1e-9)

    def ready(self, context: Context) -> Sampler:
        """The sampler over the eligible rows of the pool, made at the first call."""
        from ftbench.training.processes import Processes

        if self.sampler is None:
            prior, chosen = needed(context), self.config
            correct = chosen.pool == "prior_correct" or (chosen.pool == "auto" and chosen.sampler in CORRECT)
            scoring = Scoring.of(prior, correct, chosen.bins, chosen.aux, chosen.bin_count, chosen.smallest)
            scoring.require(rows_of_a_step(chosen, context.training.batch_size))
            names = ("power", "candidates", "discount", "prior_count", "prior_rate", "floor", "refresh")
            knobs = Knobs(**{name: getattr(chosen, name) for name in names})
            if chosen.sampler == "mir" and Processes.here().count > 1:
                raise FtbenchError("rehearsal, `sampler: mir`: found several processes; its virtual step needs one")
            self.scoring, self.model = scoring, PriorModel(context)
            self.sampler = SAMPLERS[chosen.sampler](scoring.losses, scoring.bins, knobs)
            self.trace = Trace(scoring.bins, chosen.trace_every)
            if self.pending:
                self.restore(self.pending)
        return self.sampler

    def prologue(self, context: Context) -> None:
        if self.wants_prior(self.config):
            self.ready(context)

    def begin_passes(self, context: Context) -> None:
        self.parts, self.passed = {}, 0
        again = self.place == (context.phase, context.step)  # the device's memory was too small for the first try
        if not again:
            self.steps, self.place, self.seen = self.steps + 1, (context.phase, context.step), None
        count = self.count(context.training.batch_size)
        if count and not again and self.config.sampler != "mir":  # mir has to know the new rows' gradient
            self.draw(count, None, context)

    def loss(self, loss: torch.Tensor, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        import torch

        from ftbench.training.seeds import derived

        count = self.count(context.training.batch_size)
        if count == 0:
            return loss
        if self.drawn_for != self.steps:
            self.draw(count, loss, context)
        first = batch.rows.tobytes() not in self.parts
        begin, end = self.part(batch, context)
        new = context.rows / (context.rows + count)
        mixed = new * loss
        if begin == end:
            return mixed
        rows, weights = self.rows[begin:end], torch.from_numpy(self.weights[begin:end]).float().to(loss.device)
        prior = self.scoring.batch(rows, loss.device)
        # random numbers of their own: the dropout of the new rows is that of a run without rehearsal
        with torch.random.fork_rng([loss.device] if loss.device.type == "cuda" else []):
            torch.manual_seed(derived(context.seed, "dropout", "rehearsal", context.phase, context.step, begin))
            found = self.model.logits(context, prior)
        losses = self.row_losses(found, prior, rows)
        if first:
            self.watch(begin, end, losses, found, prior, context)
        # the loop weighs a micro-batch by its share of the new rows; the rehearsed ones have shares of their own
        share = (1 - new) * self.config.prior_weight * context.rows / (count * len(batch))
        total: torch.Tensor = mixed + share * (weights * losses).sum()
        return total

    def row_losses(self, logits: torch.Tensor, batch: Batch, rows: NDArray[np.int64]) -> torch.Tensor:
        """The loss of each rehearsed row (rows,), from fp32 logits (rows, labels)."""
        return self.scoring.prior.row_losses(logits, batch)

    def draw(self, count: int, loss: torch.Tensor | None, context: Context) -> None:
        """Choose the rows of this step; the same ones in every process."""
        import torch

        sampler = self.ready(context)
        scorer = prior_scorer(self.scoring, self.model, context, loss, self.config.virtual_length)
        generator = context.generator(self.name, "draw")
        sampler.begin(self.steps, scorer)
        self.rows, self.weights = self.trace.bounded(
            self.config.max_repeats, count, lambda missing: sampler.draw(missing, generator, scorer)
        )
        self.drawn_for = self.steps
        self.seen = torch.zeros((3, count), dtype=torch.float64, device=next(context.model.parameters()).device)

    def part(self, batch: Batch, context: Context) -> tuple[int, int]:
        """Which of the step's rehearsed rows go with a micro-batch; the same ones when it is passed again."""
        from ftbench.training.processes import Processes

        key = batch.rows.tobytes()
        if key not in self.parts:
            before, processes = self.passed, Processes.here().count
            if processes > 1:  # the step's rows are cut into this many micro-batches, the first ones longer by one
                count = min(context.training.accumulation * processes, context.rows)
                least, longer = divmod(context.rows, count)
                before = context.passes * least + min(context.passes, longer)
            self.passed += len(batch)
            bounds = [place * len(self.rows) // context.rows for place in (before, before + len(batch))]
            self.parts[key] = bounds[0], bounds[1]
        return self.parts[key]

    def watch(
        self, begin: int, end: int, losses: torch.Tensor, logits: torch.Tensor, batch: Batch, context: Context
    ) -> None:
        """Remember what the rows showed; it counts once the step's gradients are known to be finite."""
        import torch

        rows = self.rows[begin:end]
        damaged = self.scoring.correct[rows] & self.scoring.prior.wrong(logits, batch)
        if self.config.clean_indicator:
            damaged = self.scoring.damaged(rows, self.model, context)
        assert self.seen is not None
        self.seen[0, begin:end] = losses.detach().double()
        self.seen[1, begin:end] = torch.from_numpy(damaged).to(self.seen)
        self.seen[2, begin:end] = batch.inputs["attention_mask"].sum(dim=1).to(self.seen)

    def gradients_ready(self, context: Context) -> None:
        from ftbench.training.processes import Processes

        if self.seen is None:
            return
        losses, damaged, tokens = Processes.here().add(self.seen).cpu().numpy()
        self.ready(context).observe(self.rows, losses, damaged > 0)
        self.trace.count(self.rows, damaged > 0)
        self.trace.rows += len(self.rows)
        self.trace.tokens += int(tokens.sum())

    def after_step(self, context: Context) -> None:
        if self.sampler is not None:
            self.trace.write(self.steps, self.sampler)

    def record(self) -> dict[str, Any]:
        if self.sampler is None:
            return {}
        self.trace.write(self.steps, self.sampler, last=True)
        return {
            "forward_rows_extra": self.sampler.charged + (self.trace.rows if self.config.clean_indicator else 0),
            "rehearsed_rows": self.trace.rows,
            "rehearsed_tokens": self.trace.tokens,
            "prior_head": self.model.described,
            "rehearsal_trace": self.trace.written,
        }

    def state_dict(self) -> State:
        import torch

        if self.sampler is None:
            return self.pending or {"steps": self.steps}
        parts = {"sampler": self.sampler.state(), "trace": self.trace.state()}
        flat = {f"{part}/{name}": value for part, found in parts.items() for name, value in found.items()}
        tensors = {key: torch.from_numpy(value) if hasattr(value, "dtype") else value for key, value in flat.items()}
        return {"steps": self.steps, **tensors}

    def load_state_dict(self, state: State) -> None:
        self.steps, self.pending = int(state["steps"]), state

    def restore(self, state: State) -> None:
        """Give the sampler and the trace what a checkpoint kept of them."""
        assert self.sampler is not None
        for part, owner in (("sampler/", self.sampler), ("trace/", self.trace)):
            own = {key.removeprefix(part): value for key, value in state.items() if key.startswith(part)}
            if own:
                owner.restore(
                    {key: value.cpu().numpy() if hasattr(value, "cpu") else value for key, value in own.items()}
                )
