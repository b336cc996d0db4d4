"""Entities in tag sequences, and the counts that precision, recall and F1 over entities are ratios of.

Tags are `O`, `B-type` and `I-type` (BIO, also called IOB2). Reading follows the evaluation of CoNLL-2000, for which no
order of tags is wrong: an `I` that goes on with nothing, after `O` or after another type, begins an entity as a `B`
would.
No task of a study has tag sequences; `evaluate_module.py` makes them for use elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ftbench.config.errors import FtbenchError
from ftbench.metrics.base import Predictions, RatioMetric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Tags = tuple[str, ...]
    Entity = tuple[str, int, int]


@dataclass(frozen=True)
class TagSequences(Predictions):
    """Tags of each row's words, gold and predicted, as many of either; the arrays of other kinds are empty."""

    gold_tags: tuple[Tags, ...] = ()
    pred_tags: tuple[Tags, ...] = ()

    @classmethod
    def of(cls, gold: Sequence[Sequence[str]], pred: Sequence[Sequence[str]]) -> TagSequences:
        """Checked sequences; tags that are not BIO and rows of two lengths raise `FtbenchError`."""
        import numpy as np

        if len(gold) != len(pred):
            raise FtbenchError(f"found {len(pred)} predicted sequences for {len(gold)} gold ones; expected as many")
        for row, (one, other) in enumerate(zip(gold, pred, strict=True)):
            if len(one) != len(other):
                raise FtbenchError(
                    f"row {row}: found {len(other)} predicted tags for {len(one)} gold ones; expected one for each "
                    "word. Give words that were cut off the tag `O`."
                )
            for tag in (*one, *other):
                if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) == 2):
                    raise FtbenchError(
                        f"row {row}: found the tag {tag!r}; expected `O`, `B-type` or `I-type`. "
                        "Write `E-` as `I-` and `S-` as `B-` first."
                    )
        whole, none = np.zeros(0, dtype=np.int64), np.zeros(0)
        both = (tuple(tuple(row) for row in side) for side in (gold, pred))
        return cls("sequence", (), whole, whole, np.zeros((0, 0)), none, none, None, *both)

    def __len__(self) -> int:
        return len(self.gold_tags)

    def take(self, rows: NDArray[np.int64]) -> TagSequences:
        """The same for some rows, repeats allowed."""
        gold, pred = (tuple(side[row] for row in rows) for side in (self.gold_tags, self.pred_tags))
        return replace(self, gold_tags=gold, pred_tags=pred)


def entities(tags: Sequence[str]) -> set[Entity]:
    """Type, first word and last word of every entity of a sequence."""
    found: set[Entity] = set()
    open_type, first = "", 0  # of the entity that the last word belongs to; no type: none
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        if open_type and (prefix != "I" or kind != open_type):
            found.add((open_type, first, place - 1))
            open_type = ""
        if prefix != "O" and not open_type:
            open_type, first = kind, place
    return found


class EntityMetric(RatioMetric):
    """right / (a predicted + b gold) over all entities of all rows, whatever their type (micro average); 0 where the
    denominator is. Resampling draws whole sequences."""

    kinds: ClassVar[tuple[str, ...]] = ("sequence",)
    higher_is_better = True
    weights: ClassVar[tuple[float, float]]  # a and b

    def parts(self, predictions: Predictions) -> NDArray[Any]:
        """(rows, 3): entities predicted right, predicted, and gold."""
        import numpy as np

        assert isinstance(predictions, TagSequences)
        counts = []
        for gold_tags, pred_tags in zip(predictions.gold_tags, predictions.pred_tags, strict=True):
            gold, pred = entities(gold_tags), entities(pred_tags)
            counts.append((len(gold & pred), len(pred), len(gold)))
        return np.array(counts, dtype=np.float64).reshape(-1, 3)

    def from_parts(self, sums: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
        import numpy as np

        right, below = sums[..., 0], sums[..., 1:] @ np.array(self.weights)
        return np.asarray(np.where(below > 0, right / np.where(below > 0, below, 1), 0.0))
