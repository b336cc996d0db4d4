"""The training loop: the only one. Methods extend it through their hooks and never copy it.

It takes a model, methods and batches, and returns what happened; it writes nothing but resume checkpoints.
Device placement, mixed precision and gradient scaling are accelerate's.
"""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError
from ftbench.outputs import Stopped
from ftbench.training.job import RESUMED, Job, Outcome
from ftbench.training.optimization import adamw, parameter_groups, rate_factor, resolved_precision
from ftbench.training.passes import Passes
from ftbench.training.seeds import derived
from ftbench.training.signals import told_to_stop
from ftbench.training.weights import plain_state

if TYPE_CHECKING:
    import torch


class _Run:
    """The state of one call of `train`; split into methods so that each part can be read alone."""

    def __init__(self, job: Job) -> None:
        from accelerate import Accelerator

        self.job, self.context, self.training = job, job.context, job.context.training
        self.outcome = Outcome()
        device = next(self.context.model.parameters()).device
        self.outcome.precision = resolved_precision(self.training.precision, device)
        mixed = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}[self.outcome.precision]
        self.accelerator = Accelerator(mixed_precision=mixed, cpu=device.type == "cpu")
        self.passes = Passes(job, self.accelerator)
        self.best: dict[str, torch.Tensor] | None = None
        self.model: torch.nn.Module = self.context.model
        self.done = 0  # optimiser steps over all phases
        self.unchecked: list[tuple[dict[str, Any], torch.Tensor]] = []

    def phases(self) -> list[int]:
        steps = [self.job.total_steps]
        for method in self.job.methods:
            asked = method.phases(self.job.total_steps)
            if asked != [self.job.total_steps]:
                steps = asked
        return steps

    def begin_phase(self, phase: int, steps: int) -> None:
        context = self.context
        context.phase, context.step, context.total_steps = phase, 0, steps
        groups = parameter_groups(context.model, self.training)
        for method in self.job.methods:
            groups = method.parameter_groups(groups, context)
        if not groups:
            raise FtbenchError("no parameter is left to train: the methods froze all of them")
        self.rates = [float(group["lr"]) for group in groups]
        optimizer = adamw(groups, self.training)
        for method in self.job.methods:
            optimizer = method.wrap_optimizer(optimizer, context)
        if phase:  # forward is wrapped for mixed precision once, not once a phase
            self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
            # an earlier phase prepares the last one: its weights are no result to choose
            self.best, self.outcome.best_score, self.outcome.best_step = None, None, None
        self.accelerator.free_memory()
        # the gradients are added here and not by a wrapper, so that methods may pass forward as often as they like
        self.model = self.passes.model = self.accelerator.prepare_model(context.model, evaluation_mode=True)
        self.optimizer = self.accelerator.prepare_optimizer(optimizer)

    def take_step(self, number: int) -> None:
        import torch

        context, methods = self.context, self.job.methods
        context.step = number
        factor = rate_factor(number, context.total_steps, self.training)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        rows, micro, loss = self.passes.of_step(number, partial(self.optimizer.zero_grad, set_to_none=True))
        self.outcome.parts = self.passes.parts
        self.accelerator.unscale_gradients(self.optimizer)
        overflowed = self.outcome.precision == "fp16" and not self.finite_gradients()
        norm = torch.zeros(())
        if not overflowed:
            for method in methods:
                method.gradients_ready(context)
            bound = self.training.clip_norm
            # torch's own: the gradients are unscaled already, and the accelerator would do it again
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), math.inf if bound is None else bound)
            for method in methods:
                method.gradients_clipped(context)
        self.optimizer.step()
        if not overflowed:
            for method in methods:
                method.after_step(context)
        self.done += 1
        tokens = sum(int(batch.inputs["attention_mask"].sum()) for batch in micro) if self.counts_tokens else 0
        self.outcome.rows += rows
        self.outcome.tokens += self.job.processes.total(tokens)
        row = {"phase": context.phase, "step": number, "learning_rate": self.rates[0] * factor, "rows": rows,
               "gradient_norm": norm.detach(), "skipped": overflowed}  # fmt: skip
        self.outcome.log.append(row)
        self.unchecked.append((row, loss))

    @property
    def counts_tokens(self) -> bool:
        return str(self.accelerator.device.type) == "cpu"  # on a GPU the sum would wait for the device in every step

    def finite_gradients(self) -> bool:
        import torch

        norms = [p.grad.norm() for p in self.context.model.parameters() if p.grad is not None]
        return bool(torch.isfinite(torch.stack(norms)).all().item())

    def check_losses(self) -> bool:
        """Move pending losses into the log; False at the first one that is not finite."""
        for row, loss in self.unchecked:
            row["loss"], row["gradient_norm"] = float(loss), float(row["gradient_norm"])
            if not math.isfinite(row["loss"]) or (not row["skipped"] and not math.isfinite(row["gradient_norm"])):
                self.outcome.failed_step = row["step"]
                self.unchecked = []
                return False
        self.unchecked = []
        return True

    def exported(self) -> dict[str, torch.Tensor]:
        state = plain_state(self.accelerator.unwrap_model(self.model))
        for method in self.job.methods:
            state = method.export(state, self.context)
        return state

    def evaluate(self) -> None:
        if self.job.evaluate is None:
            return
        with ExitStack() as stack:
            for method in self.job.methods:
                stack.enter_context(method.evaluating(self.context))
            score = self.job.processes.agree(self.job.evaluate(self.accelerator.unwrap_model(self.model)))
        self.context.model.train()
        self.outcome.scores.append({"phase": self.context.phase, "step": self.context.step, "score": score})
        last = self.training.keep == "last"
        if last or self.outcome.best_score is None or score > self.outcome.best_score:
            self.outcome.best_score, self.outcome.best_step = score, self.context.step
            if not last:
                self.best = {name: tensor.clone() for name, tensor in self.exported().items()}

    def save(self) -> None:
        if self.job.checkpoints is None or not self.job.processes.first:
            return
        outcome = self.outcome
        self.job.checkpoints.save(
            self.done,
            {
                "model": dict(self.accelerator.unwrap_model(self.model).state_dict()),
                "optimizer": self.optimizer.state_dict(),
                "methods": [method.state_dict() for method in self.job.methods],
                "best": self.best or {},
                "initial": self.context.initial,
                "position": [self.context.phase, self.context.step, self.done],
                "outcome": {name: getattr(outcome, name) for name in RESUMED},
            },
        )

    def restore(self, state: dict[str, Any]) -> None:
        self.context.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        device = self.accelerator.device
        for method, part in zip(self.job.methods, state["methods"], strict=True):
            method.load_state_dict(
                {key: value.to(device) if hasattr(value, "to") else value for key, value in part.items()}
            )
        self.best = state["best"] or None
        self.context.step, self.done = state["position"][1:]
        for name in RESUMED:
            setattr(self.outcome, name, state["outcome"][name])
        self.passes.parts = self.outcome.parts


def train(job: Job) -> Outcome:
    """Train to the end, from a checkpoint if there is one; raises `Stopped` after writing one on a signal."""
    import torch

    run = _Run(job)
    context, outcome = job.context, run.outcome
    context.batches = job.batches.epoch
    context.steps_per_epoch = job.batches.steps_per_epoch
    context.model.train()
    phases = run.phases()
    resumed = job.checkpoints.load() if job.checkpoints else None
    if resumed:
        place = run.accelerator.device  # a checkpoint is read to the CPU
        context.initial = {name: tensor.to(place) for name, tensor in resumed["initial"].items()}
    marks = [
        {math.ceil(steps * part / context.training.evaluations) for part in range(1, context.training.evaluations + 1)}
        if context.training.evaluations
        else set()
        for steps in phases
    ]
    saved = spoken = time.monotonic()
    flush_every = 1 if run.counts_tokens else 20
    with told_to_stop() as signals:
        for phase, steps in enumerate(phases):
            if resumed and phase < resumed["position"][0]:
                continue
            run.begin_phase(phase, steps)
            if resumed:
                run.restore(resumed)
                resumed = None
                job.say(f"resumed after step {context.step} of {steps}")
            else:
                torch.manual_seed(derived(context.seed, "prologue", phase))
                for method in job.methods:
                    method.prologue(context)
            for number in range(context.step + 1, steps + 1):
                started = time.perf_counter()
                run.take_step(number)
                evaluated = number in marks[phase]
                late = time.monotonic() - saved >= job.checkpoint_seconds
                due = job.processes.any(bool(signals) or late)
                if (evaluated or due or number == steps or number % flush_every == 0) and not run.check_losses():
                    outcome.seconds += time.perf_counter() - started
                    return outcome
                outcome.seconds += time.perf_counter() - started
                if evaluated:
                    run.evaluate()
                if due and number < steps:
                    run.save()
                    saved = time.monotonic()
                    if job.processes.any(bool(signals)):
                        raise Stopped(f"a checkpoint after step {number} of {steps} was written; run again to go on")
                if time.monotonic() - spoken > 5 or number == steps:
                    spoken = time.monotonic()
                    remaining = (steps - number) * outcome.seconds / max(1, run.done)
                    loss = next((row["loss"] for row in reversed(outcome.log) if "loss" in row), math.nan)
                    job.say(f"step {number} of {steps}, loss {loss:.4f}, about {remaining:.0f} s left")
    outcome.weights = run.best if run.best is not None else run.exported()
    return outcome
