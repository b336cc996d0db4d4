"""The damage of each bin, estimated from the rehearsed rows themselves, and the samplers that draw by it.

Paper: Bai, Yeh, Hsieh and Taly (2025), An Efficient Rehearsal Scheme for Catastrophic Forgetting Mitigation during
Multi-stage Fine-tuning. It says that rows are drawn by the rate of damage of their bin and that the rates are
re-estimated from the rows mixed in before. Discount, prior counts and floor are this package's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftbench.data.bins import Partition
from ftbench.training.rehearsal.samplers import Knobs, Sampler, Scorer, uniform_rows, weighted_rows

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ftbench.training.rehearsal.samplers import Numbers, Rows


class MixCd(Sampler):
    """A bin by its estimated damage, then a row of the bin, all equally likely.

    d <- gamma d and m <- gamma m once a step, then d_k += damaged and m_k += 1 for each rehearsed row of bin k;
    rate_k = (d_k + a alpha_0) / (m_k + a), raised to at least epsilon times the mean rate; the probability of
    bin k is rate_k |B_k| / sum_j rate_j |B_j|.
    """

    def __init__(self, losses: Numbers, bins: Partition, knobs: Knobs) -> None:
        import numpy as np

        super().__init__(losses, bins, knobs)
        self.members = bins.members()
        self.sizes = np.array([len(rows) for rows in self.members], dtype=np.float64)
        self.damaged, self.seen = np.zeros(len(bins)), np.zeros(len(bins))
        self.step = 0
        self.decayed = 0  # the step whose observations the counts were last discounted for

    def rates(self) -> Numbers:
        a = self.knobs.prior_count
        rates: Numbers = (self.damaged + a * self.knobs.prior_rate) / (self.seen + a)
        return rates

    def bin_probabilities(self) -> Numbers:
        import numpy as np

        rates = self.rates()
        if not rates.any():  # nothing is damaged: as at the start
            rates = np.ones(len(rates))
        raised: Numbers = np.maximum(rates, self.knobs.floor * rates.mean()) * self.sizes
        shares: Numbers = raised / raised.sum()
        return shares

    def probabilities(self) -> Numbers:
        shares: Numbers = (self.bin_probabilities() / self.sizes)[self.bins.index]
        return shares

    def begin(self, step: int, scorer: Scorer) -> None:
        self.step = step

    def draw(self, count: int, generator: torch.Generator, scorer: Scorer) -> tuple[Rows, Numbers]:
        import numpy as np

        if len(self.bins) == 1:  # the very rows that uniform sampling draws
            return self.members[0][uniform_rows(len(self.members[0]), count, generator)], np.ones(count)
        chosen = weighted_rows(self.bin_probabilities(), count, generator)
        places = uniform_rows(2**53, count, generator) / 2**53
        rows = [self.members[k][int(place * len(self.members[k]))] for k, place in zip(chosen, places, strict=True)]
        return np.array(rows, dtype=np.int64), np.ones(count)

    def observe(self, rows: Rows, losses: Numbers, damaged: NDArray[np.bool_]) -> None:
        import numpy as np

        if self.decayed != self.step:
            self.damaged *= self.knobs.discount
            self.seen *= self.knobs.discount
            self.decayed = self.step
        index = self.bins.index[rows]
        self.seen += np.bincount(index, minlength=len(self.bins))
        self.damaged += np.bincount(index, weights=damaged.astype(np.float64), minlength=len(self.bins))

    def state(self) -> dict[str, Any]:
        counts = {"damaged": self.damaged, "seen": self.seen, "decayed": self.decayed}
        return {**super().state(), **counts}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.damaged, self.seen, self.decayed = state["damaged"], state["seen"], int(state["decayed"])


class MixCdOracle(MixCd):
    """The same with the true rates of the whole pool, looked up every U steps at the price of n forward rows."""

    extra_rows = "n / U"

    def __init__(self, losses: Numbers, bins: Partition, knobs: Knobs) -> None:
        import numpy as np

        super().__init__(losses, bins, knobs)
        self.true = np.zeros(len(bins))

    def rates(self) -> Numbers:
        return self.true

    def begin(self, step: int, scorer: Scorer) -> None:
        import numpy as np

        super().begin(step, scorer)
        if (step - 1) % self.knobs.refresh:
            return
        every = np.arange(len(self.losses))
        found = scorer.damaged(every).astype(np.float64)
        self.charged += len(every)
        self.true = np.bincount(self.bins.index, weights=found, minlength=len(self.bins)) / self.sizes

    def observe(self, rows: Rows, losses: Numbers, damaged: NDArray[np.bool_]) -> None:
        """The rates come from the whole pool; rehearsed rows add nothing."""

    def state(self) -> dict[str, Any]:
        return {**super().state(), "true": self.true}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.true = state["true"]
