"""Pretraining a tiny encoder from scratch by masked-language modelling, with the one training loop.

Only stage `base` calls this, for models that the graph builds itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.model import BuiltIn
from ftbench.config.study import Training
from ftbench.training.batches import Batch, EpochBatches
from ftbench.training.examples import Encoded, Examples, encode
from ftbench.training.job import Job
from ftbench.training.loop import train
from ftbench.training.method import Context
from ftbench.training.seeds import derived, torch_generator

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def word_tokenizer(texts: list[str]) -> Any:
    """A word-level tokenizer over the corpus, with BERT's special tokens and pair template."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=SPECIAL))
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",  # noqa: S106
        unk_token="[UNK]",  # noqa: S106
        cls_token="[CLS]",  # noqa: S106
        sep_token="[SEP]",  # noqa: S106
        mask_token="[MASK]",  # noqa: S106
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


class MaskedBatches:
    """Batches in which a share of the tokens is hidden; the targets are the hidden tokens, one after another.

    Of the chosen tokens 80 % become [MASK], 10 % a random word, 10 % stay (Devlin et al., 2019).
    """

    def __init__(self, data: Encoded, settings: BuiltIn, mask_id: int, words: int, place: torch.device) -> None:
        self.rows = EpochBatches(data, settings.batch_size, 1, "none", settings.seed, place)
        self.settings, self.mask_id, self.words = settings, mask_id, words
        self.steps_per_epoch = self.rows.steps_per_epoch

    def step(self, number: int) -> list[Batch]:
        import torch

        (batch,) = self.rows.step(number)
        ids = batch.inputs["input_ids"]
        generator = torch_generator(self.settings.seed, "mask", number)
        draws = torch.rand((2, *ids.shape), generator=generator).to(ids.device)
        chosen = (draws[0] < self.settings.mask_share) & (ids >= len(SPECIAL))
        chosen[0, 1] |= not bool(chosen.any())  # no batch without a target
        targets = ids[chosen]
        random_words = torch.randint(len(SPECIAL), self.words, ids.shape, generator=generator).to(ids.device)
        hidden = torch.where(draws[1] < 0.8, self.mask_id, torch.where(draws[1] < 0.9, random_words, ids))
        inputs = {**batch.inputs, "input_ids": torch.where(chosen, hidden, ids), "chosen": chosen}
        return [Batch(inputs, targets, batch.rows)]

    def epoch(self) -> Iterable[Batch]:
        raise TypeError("pretraining has no prologue that would ask for an epoch")


def pretrain(texts: list[str], settings: BuiltIn, folder: Path, work: Path, place: torch.device) -> None:
    """Build the tokenizer, train the encoder, and save both as a transformers folder."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    from ftbench.training.checkpoint import Checkpoints

    tokenizer = word_tokenizer(texts)
    data = encode(tokenizer, Examples([""] * len(texts), texts, None, None), settings.max_length)
    torch.manual_seed(derived(settings.seed, "init"))
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=settings.hidden_size,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            intermediate_size=settings.intermediate_size,
            max_position_embeddings=max(64, settings.max_length),
            hidden_dropout_prob=settings.dropout,
            attention_probs_dropout_prob=settings.dropout,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.to(place)

    class HiddenWords(torch.nn.Module):
        """Logits of the hidden tokens alone: (hidden tokens, words)."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, chosen: torch.Tensor, **inputs: torch.Tensor) -> Any:
            states = self.model.bert(**inputs).last_hidden_state
            return type("Output", (), {"logits": self.model.cls(states[chosen])})()

    training = Training(
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        evaluations=0,
    )
    context = Context(model=HiddenWords(), training=training, kind="classification", seed=settings.seed)
    batches = MaskedBatches(data, settings, tokenizer.mask_token_id, len(tokenizer), place)
    train(Job(context, [], batches, settings.steps, checkpoints=Checkpoints(work)))
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
