"""Candidates of masked language models: against predictions that are written down, and for tokenizers of every kind."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ftbench.attacking.masked_words import MaskedWords, Place
from ftbench.attacking.words import is_word
from ftbench.config.errors import FtbenchError

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "movie", "is", "good", "great", "##ly", "##est",
          "##er", ".", "bad", "slow", "fast", "high", "low", "2000"]  # fmt: skip
CPU = torch.device("cpu")


def word_pieces(folder: Path) -> Any:
    from transformers import BertTokenizerFast

    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    return BertTokenizerFast.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


class Written(torch.nn.Module):
    """A language model whose logits depend on the token of the place alone, by a table (tokens, tokens)."""

    def __init__(self, size: int = len(PIECES), seed: int = 0) -> None:
        super().__init__()
        self.table = torch.from_numpy(np.random.default_rng(seed).permutation(size * size).reshape(size, size) / size)
        self.config = SimpleNamespace(max_position_embeddings=16, model_type="bert")

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> Any:
        return SimpleNamespace(logits=self.table[input_ids].float())


def place(text: str, word: str) -> Place:
    start = text.index(word)
    return Place(text, start, start + len(word))


def best(table: torch.Tensor, token: str, count: int) -> list[str]:
    row = table[PIECES.index(token)].numpy()
    return [PIECES[one] for one in np.argsort(-row)[:count]]


WORDS = {"the", "film", "movie", "is", "good", "great", "bad", "slow", "fast", "high", "low"}


def test_a_hidden_word_gets_the_best_predictions_at_the_mask_that_are_whole_words(tmp_path: Path) -> None:
    model = Written()
    found = MaskedWords(model, word_pieces(tmp_path), CPU).hidden([place("the film is good.", "film")], 12)
    expected = [token for token in best(model.table, "[MASK]", 12) if token in WORDS]
    assert found == [expected]
    assert 3 < len(expected) < 12  # some were pieces, numbers, special tokens or punctuation


def test_a_visible_word_of_one_piece_gets_the_best_predictions_where_it_stands(tmp_path: Path) -> None:
    model = Written()
    places = [place("the film is good.", word) for word in ("film", "good")]
    found = MaskedWords(model, word_pieces(tmp_path), CPU).visible(places, 10)
    assert found == [[token for token in best(model.table, word, 10) if token in WORDS] for word in ("film", "good")]


def test_a_visible_word_of_several_pieces_gets_their_combinations_by_perplexity(tmp_path: Path) -> None:
    """slowest is slow + ##est: four candidates each, sixteen combinations, the mean cross-entropy of both pieces."""
    model = Written()
    model.table[PIECES.index("##est"), PIECES.index("##ly")] += 100  # so that something joins
    (found,) = MaskedWords(model, word_pieces(tmp_path), CPU).visible([place("the slowest film", "slowest")], 8)
    table = model.table.float().double().numpy()
    log_probability = (
        table - np.log(np.exp(table - table.max(1, keepdims=True)).sum(1, keepdims=True)) - table.max(1, keepdims=True)
    )
    scored = []
    for pair in itertools.product(best(model.table, "slow", 4), best(model.table, "##est", 4)):
        ids = [PIECES.index(token) for token in pair]
        spelt = pair[0] + (pair[1].removeprefix("##") if pair[1].startswith("##") else " " + pair[1])
        scored.append((-np.mean([log_probability[one, one] for one in ids]), spelt))
    expected = [spelt for _, spelt in sorted(scored) if is_word(spelt)]
    assert found == expected
    assert expected


def test_a_word_of_many_pieces_has_24_combinations_at_most(tmp_path: Path) -> None:
    model, rows = Written(), []
    forward = model.forward
    model.forward = lambda **given: (rows.append(len(given["input_ids"])), forward(**given))[1]  # type: ignore[assignment]
    MaskedWords(model, word_pieces(tmp_path), CPU).visible([place("a slowlyestest b", "slowlyestest")], 8)
    assert rows[-1] == 24


def test_a_text_longer_than_the_model_is_cut_around_the_word(tmp_path: Path) -> None:
    text = "film " * 30 + "good " + "bad " * 30
    seen: list[int] = []
    model = Written()
    forward = model.forward
    model.forward = lambda **given: (seen.append(given["input_ids"].shape[1]), forward(**given))[1]  # type: ignore[assignment]
    words = MaskedWords(model, word_pieces(tmp_path), CPU)
    assert words.visible([place(text, "good")], 10) == words.visible([place("good", "good")], 10)
    assert words.hidden([place(text, "bad")], 10) == words.hidden([place("good", "good")], 10)
    assert max(seen) == 16


def test_answers_do_not_depend_on_what_else_is_asked(tmp_path: Path) -> None:
    words = MaskedWords(Written(), word_pieces(tmp_path), CPU)
    asked = [place("the film is good.", "film"), place("a slowest movie", "slowest"), place("good", "good")]
    assert words.visible(asked, 9) == [words.visible([one], 9)[0] for one in asked]
    assert words.hidden(asked[::-1], 9) == [words.hidden([one], 9)[0] for one in asked[::-1]]
    assert words.hidden([], 9) == words.visible([], 9) == []


def trained(kind: str, corpus: list[str]) -> Any:
    """A tokenizer of a kind, trained on a few sentences."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    if kind == "byte-level":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
        trainer: Any = trainers.BpeTrainer(vocab_size=320, special_tokens=special,
                                           initial_alphabet=pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(corpus, trainer)
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>",
             "sep_token": "</s>"}  # fmt: skip
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="<mask>", **names)


@pytest.mark.parametrize("kind", ["byte-level", "sentencepiece"])
def test_tokens_that_continue_a_word_are_no_candidates_in_other_vocabularies_either(kind: str) -> None:
    ends, starts = ("", "s", "er", "est", "ly", "ing"), ("good", "film", "slow", "high", "bad", "fast", "great", "low")
    corpus = [f"the {start}{end} a {start} was {start}{end}" for start in starts for end in ends] * 20
    tokenizer = trained(kind, corpus)
    size = len(tokenizer)
    words = MaskedWords(Written(size), tokenizer, CPU)
    mark = "Ġ" if kind == "byte-level" else "▁"
    whole = {token[1:] for token in words.pieces if token.startswith(mark) and is_word(token[1:])}
    (found,) = words.hidden([place("a good film", "good")], size)
    assert set(found) == whole
    assert whole & set(starts)
    assert {token for token in words.pieces if is_word(token)} - whole  # what continues a word


def test_a_model_whose_head_was_not_saved_is_refused_and_one_with_it_is_read(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    tokenizer = word_pieces(tmp_path)
    config = BertConfig(vocab_size=len(PIECES), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=8, max_position_embeddings=16)  # fmt: skip
    torch.manual_seed(0)
    model = BertForMaskedLM(config)
    for folder, saved in (("whole", model), ("bare", model.bert)):
        saved.save_pretrained(tmp_path / folder)
        tokenizer.save_pretrained(tmp_path / folder)
    words = MaskedWords.load(tmp_path / "whole", CPU)
    asked = place("the film is good.", "film")
    ids = torch.tensor([tokenizer("the [MASK] is good.")["input_ids"]])
    order = model.eval()(input_ids=ids).logits[0, 2].argsort(descending=True).tolist()
    assert words.hidden([asked], 21) == [[PIECES[one] for one in order if PIECES[one] in WORDS]]
    with pytest.raises(FtbenchError, match=r"no trained head for a masked language model"):
        MaskedWords.load(tmp_path / "bare", CPU)


def test_tokenizers_without_a_mask_are_refused(tmp_path: Path) -> None:
    tokenizer = word_pieces(tmp_path)
    tokenizer.mask_token = None
    with pytest.raises(FtbenchError, match="found no mask token"):
        MaskedWords(Written(), tokenizer, CPU)
