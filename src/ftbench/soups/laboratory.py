"""The bench on which recipes try soups: one model, the `select` rows, and the opened ingredients.

The soup stage builds it. A trial writes merged tensors straight into the one model, so that trying needs no second
copy; scores of weighted means are remembered, in a file too, so that a stopped soup does not try them again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError
from ftbench.merging.source import Source, open_ingredient
from ftbench.merging.streaming import Merger, Rule, mean_rule
from ftbench.soups.base import Decision

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ftbench.training.batches import Batch
    from ftbench.training.examples import Encoded


@dataclass
class Laboratory:
    """Everything that a recipe may measure with; rows of the test sets are not in it."""

    build: Callable[[], torch.nn.Module]  # the one model; made when it is first needed, since merging needs none
    data: Encoded  # the `select` rows, tokenised
    sources: Mapping[str, Source]  # by run id, in the order of the candidates
    kind: str
    labels: list[str]
    metric: str
    work: Path
    start: Source | None = None
    accumulate: torch.dtype | None = None
    rows: np.ndarray | None = None  # what trials are scored on; None: all
    digests: Mapping[str, str] = field(default_factory=dict)  # of the ingredients' files, for the memory of trials
    _known: dict[str, float] | None = None
    _model: torch.nn.Module | None = None

    @property
    def model(self) -> torch.nn.Module:
        """The model that trials are written into; its weights are those of the last trial."""
        if self._model is None:
            self._model = self.build()
        return self._model

    def release(self) -> None:
        """Let go of the model once all is measured, since merging needs none; it is built again where it is needed."""
        self._model = None

    @property
    def place(self) -> torch.device:
        return next(self.model.parameters()).device

    def merger(self, rule: Rule) -> Merger:
        return Merger(self.sources, rule, self.start, self.accumulate)

    def rule_of(self, decision: Decision) -> Rule:
        """What merges a decision; without a rule of its own, the weighted mean."""
        return decision.rule or mean_rule(decision.weights)

    def fill(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Copy tensors into the model by name; a tied weight is filled once, under the name it was stored with."""
        import torch

        state = self.model.state_dict()
        with torch.no_grad():
            for name, tensor in tensors:
                if name not in state:
                    raise FtbenchError(f"tensor `{name}` is none of the model {type(self.model).__name__}'s")
                state[name].copy_(tensor)

    def score(self, weights: Mapping[str, float]) -> float:
        """The score of a weighted mean on the `select` rows; computed once for each set of weights."""
        key = json.dumps([sorted(weights.items()), self._part()])
        if key not in self.known:
            self.known[key] = self._scored(mean_rule(weights))
            self._remember()
        return self.known[key]

    def judge(self, decision: Decision) -> float:
        """The score of any decision on the `select` rows."""
        return self._scored(decision.rule) if decision.rule else self.score(decision.weights)

    def score_file(self, place: Path) -> float:
        """The score of weights on the disk."""
        with open_ingredient(place) as source:
            self.fill((name, source.tensor(name)) for name in source.layout)
            return self.score_model()

    def score_model(self) -> float:
        """The score of the model as it stands."""
        from ftbench.metrics.selection import selection_score
        from ftbench.training.inference import logits

        found, targets = logits(self.model, self.data, self.place), self.data.targets
        assert targets is not None
        if self.rows is not None:
            found, targets = found[self.rows], targets[self.rows]
        return selection_score(self.metric, found, targets, self.kind, self.labels)

    def divide(self, share: float, seed: int) -> np.ndarray:
        """Cut off a part of the rows to learn from and return it; trials are scored on the rest from now on."""
        import numpy as np

        from ftbench.data.sampling import strata_of, stratified
        from ftbench.training.seeds import numpy_generator

        targets = self.data.targets
        assert targets is not None
        names = [str(value) for value in targets] if self.kind == "classification" else [None] * len(targets)
        values = [None] * len(targets) if self.kind == "classification" else [float(value) for value in targets]
        wanted = round(share * len(targets))
        if not 0 < wanted < len(targets):
            raise FtbenchError(f"found {len(targets)} `select` rows; expected enough to learn from and to compare on")
        learnt = np.sort(stratified(strata_of(names, values), wanted, numpy_generator(seed, "soup", "divide")))
        self.rows = np.setdiff1d(np.arange(len(targets)), learnt)
        return learnt

    def batches(self, rows: np.ndarray, size: int) -> Iterator[Batch]:
        """Batches of some rows in the given order."""
        from ftbench.training.batches import collate

        for begin in range(0, len(rows), size):
            yield collate(self.data, rows[begin : begin + size], self.place)

    def some_rows(self, count: int, seed: int, *purpose: str) -> np.ndarray:
        """At most `count` rows drawn without their labels."""
        from ftbench.training.seeds import numpy_generator

        return numpy_generator(seed, "soup", *purpose).permutation(len(self.data))[:count]

    @property
    def known(self) -> dict[str, float]:
        """Scores of trials; those of an earlier attempt at the same soup of the same files included."""
        if self._known is None:
            content: Any = None
            if self._memory.is_file():
                content = json.loads(self._memory.read_text(encoding="utf-8"))
            same = content is not None and content["digests"] == dict(self.digests)
            self._known = content["scores"] if same else {}
        return self._known

    @property
    def _memory(self) -> Path:
        return self.work / "trials.json"

    def _remember(self) -> None:
        if self.digests:
            self.work.mkdir(parents=True, exist_ok=True)
            partial = self._memory.with_suffix(".partial")
            partial.write_text(json.dumps({"digests": dict(self.digests), "scores": self.known}), encoding="utf-8")
            partial.replace(self._memory)

    def _part(self) -> int:
        return -1 if self.rows is None else len(self.rows)

    def _scored(self, rule: Rule) -> float:
        self.fill(self.merger(rule).tensors())
        return self.score_model()
