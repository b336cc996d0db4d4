"""Training a language model on with texts of a task, labels unseen, by the one training loop.

Stage `adapt` calls this. The model keeps its own head and its own dropout.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError
from ftbench.config.study import Training
from ftbench.training.batches import Batch, EpochBatches
from ftbench.training.checkpoint import Checkpoints
from ftbench.training.examples import Examples, encode
from ftbench.training.fit import CHECKPOINT_VARIABLE
from ftbench.training.job import Job, Outcome
from ftbench.training.loop import train
from ftbench.training.method import Context
from ftbench.training.optimization import total_steps
from ftbench.training.seeds import torch_generator
from ftbench.training.token_statistics import IGNORED, MASK_SHARE

if TYPE_CHECKING:
    import torch


class LanguageBatches:
    """Batches of texts with targets (rows, tokens), `IGNORED` where no token is asked for.

    masked: a share of a row's words, at least one, drawn anew in every step; 80 % of them become the mask token, 10 % a
    random word, 10 % stay (Devlin et al., 2019). causal: every token behind the first.
    """

    def __init__(self, rows: EpochBatches, objective: str, tokenizer: Any, seed: int) -> None:
        self.rows, self.objective, self.tokenizer, self.seed = rows, objective, tokenizer, seed
        self.steps_per_epoch = rows.steps_per_epoch

    def step(self, number: int) -> list[Batch]:
        return [self._asked(batch, number, part) for part, batch in enumerate(self.rows.step(number))]

    def epoch(self) -> Iterable[Batch]:
        raise TypeError("no method has a prologue here that would ask for an epoch")

    def _asked(self, batch: Batch, number: int, part: int) -> Batch:
        import torch

        ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
        if self.objective == "causal":
            following = torch.where(mask[:, 1:] == 1, ids[:, 1:], IGNORED)
            targets = torch.nn.functional.pad(following, (0, 1), value=IGNORED)
            return Batch(dict(batch.inputs), targets, batch.rows)
        generator = torch_generator(self.seed, "mask", number, part)
        draws = torch.rand((2, *ids.shape), generator=generator).to(ids.device)
        special = torch.tensor(sorted(self.tokenizer.all_special_ids), device=ids.device)
        words = (mask == 1) & ~torch.isin(ids, special)
        draws[0] = draws[0].masked_fill(~words, 2.0)
        chosen = words & ((draws[0] < MASK_SHARE) | (draws[0] == draws[0].min(dim=1, keepdim=True).values))
        others = torch.randint(0, len(self.tokenizer), ids.shape, generator=generator).to(ids.device)
        hidden = torch.where(draws[1] < 0.8, self.tokenizer.mask_token_id, torch.where(draws[1] < 0.9, others, ids))
        inputs = {**batch.inputs, "input_ids": torch.where(chosen, hidden, ids)}
        return Batch(inputs, torch.where(chosen, ids, IGNORED), batch.rows)


def tuned(
    model: torch.nn.Module,
    tokenizer: Any,
    texts: Examples,
    objective: str,
    training: Training,
    seed: int,
    work: Path,
    place: torch.device,
) -> Outcome:
    """Train `model` in place on all texts that hold a word; the outcome's seconds, rows and tokens are its cost."""
    import numpy as np
    import torch

    data = encode(tokenizer, texts, training.max_length)
    special = list(tokenizer.all_special_ids)
    least = 2 if objective == "causal" else 1
    spoken = [len(ids) if objective == "causal" else int((~np.isin(ids, special)).sum()) for ids in data.ids]
    kept = np.flatnonzero(np.array(spoken) >= least)
    if len(kept) == 0:
        raise FtbenchError("found no training text with a word to learn from")
    data = encode(tokenizer, texts.take(kept), training.max_length)
    model.to(place)

    class Words(torch.nn.Module):
        """Logits of every position: (rows, words, tokens), as cross-entropy takes them."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, **inputs: torch.Tensor) -> Any:
            found = self.model(**inputs).logits.transpose(1, 2)
            return type("Output", (), {"logits": found})()

    rows = EpochBatches(data, training.batch_size, training.accumulation, training.grouping, seed, place)
    context = Context(model=Words(), training=training, kind="classification", seed=seed)
    batches = LanguageBatches(rows, objective, tokenizer, seed)
    seconds = float(os.environ.get(CHECKPOINT_VARIABLE, "300"))
    steps = total_steps(training, len(data))
    return train(Job(context, [], batches, steps, None, Checkpoints(work), seconds))
