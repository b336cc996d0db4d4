"""The ways to train that `train_throughput.py` compares, each timed over one epoch, side by side.

All of them get the same rows, tokenised alike, models with equal weights, AdamW, clipping at 1 and a linear
schedule with a tenth of warm-up. They print nothing and keep nothing.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from materials import LABELS
from race import Clock, Contender

MAX_LENGTH = 128
RATE = 2e-5


class Materials:
    """Rows, tokenised once for everyone, and fresh models with equal weights."""

    def __init__(self, snapshot: Path, rows: Any, batch_size: int) -> None:
        from ftbench.training.examples import encode
        from ftbench.training.models import load_tokenizer

        self.snapshot, self.rows, self.batch_size = snapshot, rows, batch_size
        self.tokenizer = load_tokenizer(snapshot)
        self.encoded = encode(self.tokenizer, rows, MAX_LENGTH)

    def model(self) -> Any:
        from ftbench.training.models import new_classifier

        return new_classifier(self.snapshot, LABELS, "classification", 0)

    def training(self, precision: str) -> Any:
        from ftbench.config.study import Training

        return Training(
            epochs=1, batch_size=self.batch_size, learning_rate=RATE, max_length=MAX_LENGTH, evaluations=0,
            precision=precision,
        )  # fmt: skip

    def head(self, steps: int) -> Any:
        """Row indices of the first `steps` batches' worth of rows."""
        import numpy as np

        return np.arange(min(steps * self.batch_size, len(self.rows)))


def ours(materials: Materials, precision: str, clock: Clock, steps: int) -> tuple[int, float]:
    """`fit` as stage `finetune` calls it, with plain fine-tuning and a method that only looks at the clock."""
    from ftbench.methods.vanilla import Vanilla
    from ftbench.training.fit import fit
    from ftbench.training.method import Method

    class Watch(Method):
        """Tells the clock when the loop starts and when a step has ended."""

        name = "watch"

        def prologue(self, context: Any) -> None:
            clock.start()

        def after_step(self, context: Any) -> None:
            clock.tick()

    methods = [Vanilla(Vanilla.Config()), Watch(Watch.Config())]
    rows = materials.rows.take(materials.head(steps))
    with tempfile.TemporaryDirectory() as work:
        model = materials.model()
        fitted = fit(
            model,
            materials.tokenizer,
            rows,
            methods,
            materials.training(precision),
            "classification",
            0,
            Path(work),
        )
    return len(rows), statistics.fmean(row["loss"] for row in fitted.outcome.log)


def bare(materials: Materials, precision: str, clock: Clock, steps: int) -> tuple[int, float]:
    """A short loop by hand: the same buckets of similar length, AdamW, clipping and schedule, nothing else."""
    import torch

    from ftbench.training.batches import EpochBatches
    from ftbench.training.examples import encode

    data = encode(materials.tokenizer, materials.rows.take(materials.head(steps)), MAX_LENGTH)
    model = materials.model().train()
    decayed = [value for name, value in model.named_parameters() if value.ndim > 1]
    plain = [value for name, value in model.named_parameters() if value.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
        lr=RATE,
        fused=True,
    )
    batches = EpochBatches(data, materials.batch_size, 1, "length", 0, torch.device("cpu"))
    total, warmup = batches.steps_per_epoch, max(1, batches.steps_per_epoch // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: step / warmup if step < warmup else (total - step) / max(1, total - warmup)
    )
    losses = []
    clock.start()
    for step in range(1, total + 1):
        batch = batches.step(step)[0]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = model(**batch.inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), batch.targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        clock.tick()
    return len(data), statistics.fmean(losses)


def trainer(materials: Materials, precision: str, padding: str, clock: Clock, steps: int) -> tuple[int, float]:
    """`transformers.Trainer`. `padding`: `max` as run_glue does, `dynamic`, or `grouped` by length."""
    from transformers import (
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        default_data_collator,
    )

    data, longest = materials.encoded, MAX_LENGTH if padding == "max" else 0
    items = []
    for row in materials.head(steps):
        fill = max(0, longest - len(data.ids[row]))
        segments = data.segments[row] if data.segments is not None else 0 * data.ids[row]
        items.append(
            {
                "input_ids": [*data.ids[row].tolist(), *[data.padding_id] * fill],
                "token_type_ids": [*segments.tolist(), *[0] * fill],
                "attention_mask": [1] * len(data.ids[row]) + [0] * fill,
                "labels": int(data.targets[row]) if data.targets is not None else 0,
            }
        )

    class Watch(TrainerCallback):  # type: ignore[misc]
        """Tells the clock when the epoch starts and when a step has ended."""

        def on_epoch_begin(self, *_: Any, **__: Any) -> None:
            clock.start()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=materials.batch_size, num_train_epochs=1, learning_rate=RATE,
            weight_decay=0.01, max_grad_norm=1.0, warmup_steps=0.1, lr_scheduler_type="linear",
            train_sampling_strategy="group_by_length" if padding == "grouped" else "random",
            bf16=precision == "bf16", use_cpu=True, dataloader_pin_memory=False,
            logging_strategy="no", save_strategy="no", eval_strategy="no", report_to=[], disable_tqdm=True,
        )  # fmt: skip
        run = Trainer(
            materials.model(),
            arguments,
            train_dataset=items,
            processing_class=materials.tokenizer,
            callbacks=[Watch()],
            data_collator=default_data_collator if padding == "max" else DataCollatorWithPadding(materials.tokenizer),
        )
        outcome = run.train()
    return len(items), float(outcome.training_loss)


def contenders(materials: Materials, precisions: list[str]) -> list[Contender]:
    """Everyone who runs, in the order of the table."""
    found = []
    for precision in precisions:
        found.append(Contender(f"ours, {precision}", "ours", precision, _bound(ours, materials, precision)))
        found.append(Contender(f"bare loop, {precision}", "bare", precision, _bound(bare, materials, precision)))
        for padding, title in (
            ("max", "padded to 128"),
            ("dynamic", "dynamic padding"),
            ("grouped", "grouped by length"),
        ):
            found.append(
                Contender(
                    f"Trainer, {title}, {precision}",
                    f"Trainer {padding}",
                    precision,
                    _bound(trainer, materials, precision, padding),
                )
            )
    return found


def _bound(function: Callable[..., tuple[int, float]], *given: Any) -> Callable[[Clock, int], tuple[int, float]]:
    return lambda clock, steps: function(*given, clock, steps)
