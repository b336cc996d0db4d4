"""The greedy search through the words of one example.

A search is a generator: it yields what it wants to know (`Score`, `Propose`) and is sent the answers, so that the
engine can gather the questions of many examples into full batches. It decides nothing by the order of answers.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ftbench.attacking.contract import Option, Proposer, Site, Subject
from ftbench.attacking.victim import Victim
from ftbench.attacking.words import Words

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Score:
    """Wanted: the probabilities of these inputs; answered by a list of arrays (labels,)."""

    inputs: list[Any]


@dataclass(frozen=True)
class Propose:
    """Wanted: the candidates of these sites that pass all constraints; answered by a list of lists of `Option`."""

    sites: list[Site]


Request = Score | Propose
Asking = Generator[Request, Any, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of one example.

    skipped: misclassified before. success: the label flipped (or the prediction, where that is the goal). budget: cut
    off before it did. failed: no change helped. error: the model gave no number. `queries`: distinct inputs that the
    victim was asked about, the first included.
    """

    uid: str
    status: str
    gold: int
    pred_before: int
    pred_after: int
    p_true_before: float | None
    p_true_after: float | None
    text_before: str
    text_after: str | None  # null where nothing was changed
    n_words: int
    changed_positions: list[int]
    similarity: float | None
    queries: int


class _Cut(Exception):  # noqa: N818, it reports no error
    """The budget is used up."""


class _NoNumber(Exception):  # noqa: N818
    """The victim's answer is not a number."""


@dataclass
class Search:
    """One example under attack; `run` is the generator, and returns an `Outcome`."""

    attack: Proposer
    subject: Subject
    victim: Victim
    seed: int
    stop_words: frozenset[str]
    answers: dict[Hashable, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settings = self.attack.config
        self.second = self.subject.attacks_second(self.settings)
        text, other = self.subject.text_a, self.subject.text_b
        if self.second and other is not None:
            text, other = other, text
        self.original, self.other = Words.of(text), other
        self.current, self.probability, self.predicted = self.original, 0.0, -1
        self.target, self.true = self.subject.gold, 0.0  # the label to lose; the true label's probability now
        self.before: np.ndarray | None = None
        self.similarity: float | None = None

    def run(self) -> Generator[Request, Any, Outcome]:
        try:
            (self.before,) = yield from self._scores([self.original])
            assert self.before is not None
            self.predicted = int(self.before.argmax())
            if self.settings.goal == "prediction":
                self.target = self.predicted
            self.probability, self.true = float(self.before[self.target]), float(self.before[self.subject.gold])
            if self.predicted != self.target:
                return self._outcome("skipped")
            return self._outcome((yield from self._greedy()))
        except _Cut:
            return self._outcome("budget")
        except _NoNumber:
            return self._outcome("error")

    def _greedy(self) -> Generator[Request, Any, str]:
        """Try all candidates of a word, keep the best if it helps, go on to the next; stop when the label flips."""
        left, changes, most, tried = (yield from self._order()), 0, self._most_changes(), 0
        every = self.settings.ranking == "every_word"
        while left and changes < most and tried != self.settings.tried_words:
            positions, rest = (left, []) if every else (left[:1], left[1:])
            proposed = yield Propose([self._site(position) for position in positions])
            options = [(position, one) for position, own in zip(positions, proposed, strict=True) for one in own]
            chosen = (yield from self._changed(options)) if options else None
            if self.predicted != self.target:
                return "success"
            tried += bool(options)
            changes += chosen is not None
            # where all words are tried, the others are tried again in the changed text until nothing helps any more
            left = rest if not every else [other for other in left if other != chosen] if chosen is not None else []
        return "failed"

    def _changed(self, options: Sequence[tuple[int, Option]]) -> Generator[Request, Any, int | None]:
        """Make the best of some changes, each a position and its candidate, if it helps; its position, else null."""
        assert self.before is not None
        target, texts = self.target, [self.current.replaced({place: option.word}) for place, option in options]
        found = yield from self._scores(texts, partly=True)
        left = [float(answer[target]) for answer in found]
        best = min(range(len(left)), key=left.__getitem__)  # the first of equal ones
        flipping = int(found[best].argmax()) != target
        if flipping:
            flips = [number for number, answer in enumerate(found) if int(answer.argmax()) != target]
            best = _most_similar([option for _, option in options], flips, best)
        helps = left[best] < (float(self.before[target]) if self.settings.accept == "original" else self.probability)
        if flipping or helps:
            self.current, self.probability, self.true = texts[best], left[best], float(found[best][self.subject.gold])
            self.predicted, self.similarity = int(found[best].argmax()), options[best][1].similarity
        if len(found) < len(texts) and not flipping:
            raise _Cut
        return options[best][0] if flipping or helps else None

    def _order(self) -> Generator[Request, Any, list[int]]:
        """Positions that may be changed, most important first; equal ones from left to right."""
        assert self.before is not None
        positions = [
            position
            for position, word in enumerate(self.original.words[: self.settings.most_words])
            if word.lower() not in self.stop_words and self.attack.attackable(word)
        ]
        ranking = self.settings.ranking
        if ranking in ("none", "every_word") or len(positions) < 2:
            return positions
        if ranking == "delete":
            found = yield from self._scores([self.original.without(position) for position in positions])
            importance = [self._loss(answer, self.settings.flip_gain) for answer in found]
            if self.settings.flips_first:  # no loss, gain included, exceeds 2
                flips = [int(answer.argmax()) != self.target for answer in found]
                importance = [loss + 4 * flip for loss, flip in zip(importance, flips, strict=True)]
        else:
            unknown = self.victim.unknown
            found = yield from self._scores([self.original.replaced({position: unknown}) for position in positions])
            importance = [self._loss(answer, False) for answer in found]
        if ranking == "weighted_saliency":
            gains = yield from self._best_gains(positions)
            importance = [weight * gain for weight, gain in zip(_softmax(importance), gains, strict=True)]
        return [position for _, position in sorted(zip(importance, positions, strict=True), key=lambda item: -item[0])]

    def _best_gains(self, positions: Sequence[int]) -> Generator[Request, Any, list[float]]:
        """For each word how much the true class loses by its best candidate in the original text; 0 without any."""
        proposed = yield Propose([self._site(position) for position in positions])
        texts = [
            self.original.replaced({position: option.word})
            for position, options in zip(positions, proposed, strict=True)
            for option in options
        ]
        losses = iter([self._loss(answer, False) for answer in (yield from self._scores(texts))])
        return [max((next(losses) for _ in options), default=0.0) for options in proposed]

    def _loss(self, answer: np.ndarray, flip_gain: bool) -> float:
        """How much probability the true class loses; with `flip_gain` also what a new top class gains."""
        assert self.before is not None
        target, top = self.target, int(answer.argmax())
        loss = float(self.before[target] - answer[target])
        return loss + float(answer[top] - self.before[top]) if flip_gain and top != target else loss

    def _most_changes(self) -> int:
        share, limit = self.settings.changed_share, self.settings.changed_words
        most = len(self.original) if share is None else int(share * len(self.original) + 1e-9)
        return most if limit is None else min(most, limit)

    def _site(self, position: int) -> Site:
        return Site(self.subject.uid, self.original, self.current, position, self.seed, self.other, self.second)

    def _scores(self, texts: Sequence[Words], partly: bool = False) -> Generator[Request, Any, list[np.ndarray]]:
        """Probabilities of texts, each input asked once for the example. At the end of the budget: those of the texts
        before the first that cannot be asked about any more, if `partly` and there is one, else `_Cut`."""
        import numpy as np

        pairs = [(self.other or "", text.text) if self.second else (text.text, self.other) for text in texts]
        inputs = self.victim.inputs(pairs) if pairs else []
        new = [key for key in dict.fromkeys(inputs) if key not in self.answers]
        left = len(new) if self.settings.budget is None else self.settings.budget - len(self.answers)
        if new[:left]:
            answers = yield Score(new[:left])
            self.answers.update(zip(new, answers, strict=False))
            if not all(np.isfinite(answer).all() for answer in answers):
                raise _NoNumber
        known = next((place for place, key in enumerate(inputs) if key not in self.answers), len(inputs))
        if known < len(inputs) and not (partly and known):
            raise _Cut
        return [self.answers[key] for key in inputs[:known]]

    def _outcome(self, status: str) -> Outcome:
        changed, known = self.original.changed(self.current), self.before is not None
        return Outcome(
            uid=self.subject.uid,
            status=status,
            gold=self.subject.gold,
            pred_before=int(self.before.argmax()) if self.before is not None else -1,
            pred_after=self.predicted,
            p_true_before=float(self.before[self.subject.gold]) if self.before is not None else None,
            p_true_after=self.true if known else None,
            text_before=self.original.text,
            text_after=self.current.text if changed else None,
            n_words=len(self.original),
            changed_positions=changed,
            similarity=self.similarity if changed else None,
            queries=len(self.answers),
        )


def _most_similar(options: Sequence[Option], flips: Sequence[int], best: int) -> int:
    """Among options that flip the label the most similar one, the first of equal ones; `best` without similarities."""
    measured = [(place, options[place].similarity) for place in flips]
    known = [(place, value) for place, value in measured if value is not None]
    return max(known, key=lambda item: item[1])[0] if known else best


def _softmax(values: Sequence[float]) -> list[float]:
    import math

    highest = max(values)
    weights = [math.exp(value - highest) for value in values]
    return [weight / sum(weights) for weight in weights]
