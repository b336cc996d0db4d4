"""The forward and backward passes of one optimiser step, over all micro-batches and processes.

The loop asks for the passes of a step and then owns what follows: scaling, masks, clipping, the optimiser.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ftbench.training.batches import Batch
from ftbench.training.dropout import dropout_state
from ftbench.training.job import Job
from ftbench.training.memory import more_parts, split
from ftbench.training.repeatable import accept_any_order, lacks_kernel
from ftbench.training.seeds import seed_dropout

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator


class Passes:
    """Passes of the model of a job; `model` is the prepared one, set anew in each phase."""

    def __init__(self, job: Job, accelerator: Accelerator) -> None:
        self.job, self.context, self.methods = job, job.context, job.methods
        self.batches, self.processes, self.accelerator = job.batches, job.processes, accelerator
        self.owner = next((method for method in job.methods if method.owns_gradients), None)
        self.judge = next((method for method in job.methods if method.owns_criterion), None)
        self.numbers: dict[int, int] = {}  # of the micro-batches in the step, by identity
        self.waiting: set[int] = set()  # those not passed yet
        self.parts = 1  # that each micro-batch is cut into, where the device's memory asks for it
        self.model: torch.nn.Module = job.context.model
        context = job.context
        context.forward, context.task_loss, context.repeat_dropout = self.forward, self.task_loss, self.repeat_dropout

    def forward(self, batch: Batch) -> torch.Tensor:
        logits: torch.Tensor = self.model(**batch.inputs).logits
        return logits.float()

    def task_loss(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The mean loss of the rows, by the method that owns the criterion or plain."""
        from torch.nn import functional

        if self.judge:
            return self.judge.criterion(logits, batch, self.context)
        assert batch.targets is not None
        if self.context.kind == "regression":
            return functional.mse_loss(logits.squeeze(-1), batch.targets.float())
        return functional.cross_entropy(logits, batch.targets)

    def repeat_dropout(self, batch: Batch) -> None:
        """Start the dropout of a micro-batch: a stream of its number in the step, whichever process computes it."""
        context = self.context
        context.passes = self.numbers.get(id(batch), 0)
        seed_dropout(context.seed, context.phase, context.step, context.passes)

    def backward(self, batch: Batch, rows: int) -> torch.Tensor:
        """One micro-batch: its share of the step's mean loss, whose gradient is added."""
        if id(batch) in self.waiting:
            self.waiting.remove(id(batch))
            self.repeat_dropout(batch)
        self.context.dropout_state = dropout_state(self.accelerator.device)
        logits = self.forward(batch)
        loss = self.task_loss(logits, batch)
        for method in self.methods:
            loss = method.loss(loss, logits, batch, self.context)
        share = loss * (len(batch) / rows)
        self.accelerator.backward(share)
        return share.detach()

    def of_step(self, number: int, zero_gradients: Callable[[], None]) -> tuple[int, list[Batch], torch.Tensor]:
        """All passes of a step, in smaller micro-batches if the device's memory is too small; gives the rows of all
        processes, this one's micro-batches, and the mean loss."""
        import torch

        context, methods, processes = self.context, self.methods, self.processes
        while True:
            context.passes = 0
            seed_dropout(context.seed, context.phase, number)
            zero_gradients()
            for method in methods:
                method.begin_passes(context)
            whole = self.batches.step(number)
            micro = [part for batch in whole for part in split(batch, self.parts)]
            self.numbers = {id(batch): processes.rank + index * processes.count for index, batch in enumerate(micro)}
            self.waiting = set(self.numbers)
            context.rows = rows = processes.total(sum(len(batch) for batch in micro))
            failed: RuntimeError | None = None
            try:
                if not micro:  # a short last batch has no rows for this process
                    loss = torch.zeros((), device=self.accelerator.device)
                elif self.owner:
                    loss = self.owner.gradients(micro, partial(self.backward, rows=rows), context)
                else:
                    loss = torch.stack([self.backward(batch, rows) for batch in micro]).sum()
            except RuntimeError as error:
                if not isinstance(error, torch.OutOfMemoryError) and not lacks_kernel(error):
                    raise
                failed = error.with_traceback(None)  # the traceback holds what fills the memory
            if failed is None:
                loss = processes.add(loss)
                processes.add_gradients(context.model.parameters())
                context.passes = 0
            for method in methods:
                method.end_passes(context)
            if failed is None:
                return rows, micro, loss
            if lacks_kernel(failed):
                accept_any_order(self.job, failed)
                continue
            largest = max(len(batch) for batch in whole)
            together = bool(self.owner) or processes.count > 1
            self.parts = more_parts(self.parts, largest, self.job, together, failed)
