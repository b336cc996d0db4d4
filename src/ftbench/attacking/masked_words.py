"""Words that a masked language model would put in the place of a word, most probable first.

Word-substitution attacks ask here. The model is any encoder whose checkpoint has its trained masked-language-model
head; it works on text, so its tokenizer may be another than that of the attacked model. Nothing here draws.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.attacking.words import is_word
from ftbench.config.errors import FtbenchError
from ftbench.training.models import language_model, load_tokenizer

if TYPE_CHECKING:
    import torch

# Li et al. (2020), as released: of a word of several pieces the first 12 are looked at with 4 candidates each, and
# the first 24 combinations are sorted by the pieces' perplexity
MOST_PIECES, PIECE_CANDIDATES, MOST_COMBINATIONS = 12, 4, 24
_TOKENS = 4096  # rows times padded length of one forward pass, on any device: bounds the logits' memory
_STARTS = ("Ġ", "▁")  # marks of a token that begins a word, in byte-level and SentencePiece vocabularies


@dataclass(frozen=True)
class Place:
    """A word in a text, by the positions of its first character and behind its last."""

    text: str
    start: int
    end: int


class MaskedWords:
    """A masked language model with its tokenizer, in eval mode on one device."""

    def __init__(self, model: torch.nn.Module, tokenizer: Any, place: torch.device) -> None:
        """The tokenizer has to tell where in the text its tokens lie, and to have a token for a hidden word."""
        lacks = "no mask token" if tokenizer.mask_token_id is None else ""
        if not getattr(tokenizer, "is_fast", False):
            lacks = "no record of where in a text its tokens lie"
        if lacks:
            raise FtbenchError(
                f"tokenizer {tokenizer.name_or_path}: found {lacks}; a model that proposes words needs the fast "
                "tokenizer (tokenizer.json) of a masked language model"
            )
        self.model, self.tokenizer, self.place = model.to(place).eval(), tokenizer, place
        positions = int(getattr(model.config, "max_position_embeddings", 512))
        # RoBERTa's position embeddings begin behind the padding's
        shift = 2 if getattr(model.config, "model_type", "") in ("roberta", "xlm-roberta", "camembert") else 0
        self.longest = min(int(tokenizer.model_max_length), positions - shift)
        tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        special = set(tokenizer.all_special_ids)
        self.pieces = [str(token) for token in tokens]
        mark = next((mark for mark in _STARTS if any(token.startswith(mark) for token in self.pieces)), None)
        inner = any(token.startswith("##") for token in self.pieces)
        self.begins = [not token.startswith("##") if inner else mark is None or token.startswith(mark)
                       for token in self.pieces]  # fmt: skip
        spelt = [tokenizer.convert_tokens_to_string([token]).strip() for token in self.pieces]
        self.words = ["" if number in special or not is_word(word) else word for number, word in enumerate(spelt)]

    @classmethod
    def load(cls, snapshot: Path, place: torch.device) -> MaskedWords:
        """From a model's folder; one whose head was not saved with it raises an `FtbenchError`."""
        return cls(language_model(snapshot, "masked"), load_tokenizer(snapshot), place)

    def hidden(self, places: Sequence[Place], count: int) -> list[list[str]]:
        """The `count` most probable tokens for each word hidden behind one mask, of which whole words are kept."""
        mask = self.tokenizer.mask_token
        covered = [
            Place(place.text[: place.start] + mask + place.text[place.end :], place.start, place.start + len(mask))
            for place in places
        ]
        # what tokens look like there tells the word that stood there, not the mask
        starts = [self._begins(place) for place in places]
        return [
            [] if not found else self._whole(found[0], begins)
            for found, begins in zip(self._best(covered, count), starts, strict=True)
        ]

    def visible(self, places: Sequence[Place], count: int) -> list[list[str]]:
        """The same with the word left in sight. Of a word of several pieces the best candidates of its pieces are
        combined, in the order of the pieces' perplexity without context (BERT-Attack)."""
        starts, filled = [self._begins(place) for place in places], []
        for found, begins in zip(self._best(places, count), starts, strict=True):
            filled.append(self._whole(found[0], begins) if len(found) == 1 else self._combined(found))
        return filled

    def _whole(self, candidates: list[int], begins: bool) -> list[str]:
        return list(
            dict.fromkeys(self.words[one] for one in candidates if self.words[one] and self.begins[one] == begins)
        )

    def _combined(self, found: list[list[int]]) -> list[str]:
        import torch

        rows = [candidates[:PIECE_CANDIDATES] for candidates in found[:MOST_PIECES]]
        combinations = [list(one) for one in itertools.islice(itertools.product(*rows), MOST_COMBINATIONS)]
        if not found or not combinations:
            return []
        ids = torch.tensor(combinations, device=self.place)
        with torch.inference_mode():
            logits = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids, reduction="none").mean(dim=1)
        order = torch.argsort(losses, stable=True).tolist()
        spelt = [
            self.tokenizer.convert_tokens_to_string([self.pieces[one] for one in combinations[row]]).strip()
            for row in order
        ]
        return list(dict.fromkeys(word for word in spelt if is_word(word)))

    def _begins(self, place: Place) -> bool:
        """Whether the first token of the word is of the kind that begins words (in byte-level vocabularies one
        behind a bracket, or the first of a text, is not)."""
        ids, _, own = self._pieces(place)
        if not own:
            return True
        alone = own[0] > 0 and self.pieces[ids[own[0] - 1]] in _STARTS  # the mark may be a token of its own
        return alone or self.begins[ids[own[0]]]

    def _pieces(self, place: Place) -> tuple[list[int], list[tuple[int, int]], list[int]]:
        """Token ids of the text, where in it they lie, and which of them are the word's."""
        coded = self.tokenizer(place.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = coded["offset_mapping"]
        own = [number for number, (start, end) in enumerate(offsets) if start < place.end and end > place.start]
        return coded["input_ids"], offsets, own

    def _cut(self, place: Place) -> Place:
        """The part of the text around the word that the model can take."""
        _, offsets, own = self._pieces(place)
        room = self.longest - self.tokenizer.num_special_tokens_to_add()
        if len(offsets) <= room or not own:
            return place
        first = max(0, min(own[0] - (room - len(own)) // 2, len(offsets) - room))
        begin, end = offsets[first][0], offsets[first + room - 1][1]
        return Place(place.text[begin:end], place.start - begin, place.end - begin)

    def _best(self, places: Sequence[Place], count: int) -> list[list[list[int]]]:
        """For each word, for each of its pieces, the `count` ids of the highest logits; of equal ones the lower id
        first. No pieces where the tokenizer drops the word."""
        import torch

        if not places:
            return []
        cut = [self._cut(place) for place in places]
        texts = list(dict.fromkeys(place.text for place in cut))
        coded = self.tokenizer(texts, truncation=True, max_length=self.longest, return_offsets_mapping=True)
        lengths = [len(ids) for ids in coded["input_ids"]]
        wanted: dict[int, list[int]] = {}  # places by their text
        for number, place in enumerate(cut):
            wanted.setdefault(texts.index(place.text), []).append(number)
        found: list[list[list[int]]] = [[] for _ in cut]
        for rows in _batches(lengths):
            batch = self.tokenizer.pad(
                {key: [coded[key][row] for row in rows] for key in self.tokenizer.model_input_names if key in coded},
                return_tensors="pt",
            ).to(self.place)
            with torch.inference_mode():
                logits = self.model(**batch).logits.float()
            for line, row in enumerate(rows):
                # left padding moves the tokens
                shift = 0 if self.tokenizer.padding_side == "right" else logits.shape[1] - lengths[row]
                for number in wanted[row]:
                    place, offsets = cut[number], coded["offset_mapping"][row]
                    own = [piece for piece, (start, end) in enumerate(offsets)
                           if start < end and start < place.end and end > place.start]  # fmt: skip
                    for piece in own:
                        order = torch.argsort(logits[line, piece + shift], descending=True, stable=True)
                        found[number].append(order[:count].tolist())
        return found


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Rows of similar length together, `_TOKENS` padded tokens at most."""
    found: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        if found and (len(found[-1]) + 1) * lengths[row] <= _TOKENS:
            found[-1].append(row)
        else:
            found.append([row])
    return found
