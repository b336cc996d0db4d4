"""Samplers: from a pool of prior rows, the rows to rehearse in a step.

One interface for all of them. A sampler sees losses and damage of the rows it drew, asks for further forward
passes through a `Scorer` and says how many rows those cost; it knows neither the model nor the optimiser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ftbench.data.bins import Partition

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]
    Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Scorer:
    """Forward passes that a sampler may ask for; rows are positions in the pool as the sampler has it.

    `losses` of rows under the present weights; `increase` of their losses by a virtual step on the new rows;
    `damaged` of rows, in evaluation mode.
    """

    losses: Callable[[Rows], Numbers]
    increase: Callable[[Rows], Numbers]
    damaged: Callable[[Rows], NDArray[np.bool_]]


@dataclass(frozen=True)
class Knobs:
    """Settings of the samplers; each uses those it needs."""

    power: float = 1.0  # beta: exponent of the prior loss
    candidates: int = 32  # M
    discount: float = 0.99  # gamma
    prior_count: float = 1.0  # a
    prior_rate: float = 0.05  # alpha_0
    floor: float = 0.1  # epsilon, relative to the mean rate
    refresh: int = 50  # U: steps between looks at the whole pool


class Sampler:
    """Uniform over the pool: the base of all samplers, and `random` as it is."""

    extra_rows: ClassVar[str] = "0"  # forward rows beyond the rehearsed ones, per step

    def __init__(self, losses: Numbers, bins: Partition, knobs: Knobs) -> None:
        self.losses, self.bins, self.knobs = losses, bins, knobs
        self.charged = 0  # forward rows spent so far beyond the rehearsed ones

    def probabilities(self) -> Numbers:
        """The probability of each row of the pool to be the next one drawn: (rows,), sum 1."""
        import numpy as np

        return np.full(len(self.losses), 1 / len(self.losses))

    def bin_probabilities(self) -> Numbers | None:
        """The same by bin; None where rows are not drawn from fixed probabilities."""
        import numpy as np

        return np.bincount(self.bins.index, weights=self.probabilities(), minlength=len(self.bins)).astype(np.float64)

    def rates(self) -> Numbers | None:
        """The estimated damage rate of each bin, where the sampler has one."""
        return None

    def begin(self, step: int, scorer: Scorer) -> None:
        """Called once in every step before rows are drawn."""

    def draw(self, count: int, generator: torch.Generator, scorer: Scorer) -> tuple[Rows, Numbers]:
        """`count` rows with replacement, and the weight of each one's loss."""
        import numpy as np

        rows = weighted_rows(self.probabilities(), count, generator)
        return rows, np.ones(count)

    def observe(self, rows: Rows, losses: Numbers, damaged: NDArray[np.bool_]) -> None:
        """Losses and damage of rehearsed rows, as their own forward pass showed them."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs: names to arrays or numbers."""
        return {"charged": self.charged}

    def restore(self, state: dict[str, Any]) -> None:
        self.charged = int(state["charged"])


class Uniform(Sampler):
    """Every row of the pool with the same probability."""

    def draw(self, count: int, generator: torch.Generator, scorer: Scorer) -> tuple[Rows, Numbers]:
        import numpy as np

        return uniform_rows(len(self.losses), count, generator), np.ones(count)


class PriorLoss(Sampler):
    """Rows by their prior loss: probability proportional to its power beta."""

    def __init__(self, losses: Numbers, bins: Partition, knobs: Knobs) -> None:
        super().__init__(losses, bins, knobs)
        raised = losses**knobs.power
        self.shares = raised / raised.sum() if raised.sum() > 0 else super().probabilities()

    def probabilities(self) -> Numbers:
        return self.shares


class PriorLossMax(Sampler):
    """The rows with the highest prior loss, each once before any comes again; no randomness."""

    def __init__(self, losses: Numbers, bins: Partition, knobs: Knobs) -> None:
        import numpy as np

        super().__init__(losses, bins, knobs)
        self.order, self.drawn = np.argsort(-losses, kind="stable"), 0

    def bin_probabilities(self) -> Numbers | None:
        return None

    def draw(self, count: int, generator: torch.Generator, scorer: Scorer) -> tuple[Rows, Numbers]:
        import numpy as np

        places = (self.drawn + np.arange(count)) % len(self.order)
        self.drawn += count
        return self.order[places], np.ones(count)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "drawn": self.drawn}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.drawn = int(state["drawn"])


class MaxLoss(Sampler):
    """Of M candidates those with the highest present loss."""

    extra_rows = "M"
    passes = 1

    def bin_probabilities(self) -> Numbers | None:
        return None

    def scores(self, rows: Rows, scorer: Scorer) -> Numbers:
        return scorer.losses(rows)

    def draw(self, count: int, generator: torch.Generator, scorer: Scorer) -> tuple[Rows, Numbers]:
        import numpy as np

        candidates = np.unique(uniform_rows(len(self.losses), max(self.knobs.candidates, count), generator))
        self.charged += self.passes * len(candidates)
        best = np.argsort(-self.scores(candidates, scorer), kind="stable")
        # a small pool may give fewer different candidates than rows are asked for: the best come again
        return candidates[np.resize(best, count)], np.ones(count)


class Mir(MaxLoss):
    """Maximally interfered retrieval (Aljundi et al., 2019): of M candidates those whose loss a virtual step on
    the new rows raises most."""

    extra_rows = "2 M"
    passes = 2

    def scores(self, rows: Rows, scorer: Scorer) -> Numbers:
        return scorer.increase(rows)


class Importance(Sampler):
    """Rows by the loss they had when last seen, their losses weighted by 1 / (n pi) so that the mean is unbiased."""

    def __init__(self, losses: Numbers, bins: Partition, knobs: Knobs) -> None:
        super().__init__(losses, bins, knobs)
        self.stale = losses.copy()

    def probabilities(self) -> Numbers:
        import numpy as np

        mean = self.stale.mean()
        raised = np.maximum(self.stale, self.knobs.floor * mean) if mean > 0 else np.ones(len(self.stale))
        shares: Numbers = raised / raised.sum()
        return shares

    def draw(self, count: int, generator: torch.Generator, scorer: Scorer) -> tuple[Rows, Numbers]:
        shares = self.probabilities()
        rows = weighted_rows(shares, count, generator)
        return rows, 1 / (len(shares) * shares[rows])

    def observe(self, rows: Rows, losses: Numbers, damaged: NDArray[np.bool_]) -> None:
        self.stale[rows] = losses

    def state(self) -> dict[str, Any]:
        return {**super().state(), "stale": self.stale}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.stale = state["stale"]


def uniform_rows(total: int, count: int, generator: torch.Generator) -> Rows:
    """`count` numbers below `total`, with replacement."""
    import torch

    found: Rows = torch.randint(total, (count,), generator=generator).numpy()
    return found


def weighted_rows(shares: Numbers, count: int, generator: torch.Generator) -> Rows:
    """`count` positions drawn with the probabilities `shares`, with replacement."""
    import numpy as np
    import torch

    edges = np.cumsum(shares)
    draws = torch.rand(count, generator=generator, dtype=torch.float64).numpy() * edges[-1]
    found: Rows = np.minimum(np.searchsorted(edges, draws, side="right"), len(shares) - 1).astype(np.int64)
    return found
