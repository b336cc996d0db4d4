"""How many seeds would show a difference of a given size: `ftbench power`.

Takes the spread of paired differences from the scores that are there. Called by the command alone; it changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError
from ftbench.config.study import Study

if TYPE_CHECKING:
    import pyarrow as pa

# below this a standard deviation says next to nothing
FEWEST_PAIRS = 3


def seeds_for(study: Study, metrics: pa.Table, difference: float) -> pa.Table:
    """One row for each method and variant beside the baseline, and each set at its leading metric.

    `deviation` is the standard deviation (ddof 1) of the differences from the baseline, seed by seed; `seeds_needed`
    the fewest pairs of seeds with which a paired t-test at 5 %, unadjusted, shows `difference` with 80 % power;
    `detectable` the smallest difference that the present pairs show so. All are null below three pairs, and
    `seeds_needed` beyond 10,000. Raises an `FtbenchError` without a baseline or with a difference of 0.
    """
    import numpy as np
    import pyarrow as pa

    from ftbench.comparing.scores import Rival, arranged, rivals
    from ftbench.statistics.baseline import baseline_of
    from ftbench.statistics.power import detectable_difference, seeds_needed

    baseline = baseline_of(study)
    if baseline is None:
        raise FtbenchError("the study names no baseline; expected the key `baseline` with the method to compare with")
    if not difference > 0:
        raise FtbenchError(f"key `difference`: found {difference}; expected a number above 0, such as 0.01 for a point")
    scores, rows = arranged(metrics), []
    for place in scores.places:
        if not scores.leads(study, place):
            continue
        theirs = scores.of(place, Rival(*baseline))
        for rival in rivals(study):
            if rival == baseline:
                continue
            ours = scores.of(place, rival)
            pairs = np.array([ours[seed] - theirs[seed] for seed in study.seeds if seed in ours and seed in theirs])
            deviation = float(pairs.std(ddof=1)) if len(pairs) >= FEWEST_PAIRS else None
            row: dict[str, Any] = {**place._asdict(), **rival._asdict(), "n_pairs": len(pairs), "deviation": deviation}
            row["observed"] = float(pairs.mean()) if len(pairs) else None
            row["detectable"] = None if deviation is None else detectable_difference(deviation, len(pairs))
            row["seeds_needed"] = None if deviation is None else seeds_needed(difference, deviation)
            rows.append(row)
    texts, numbers = (
        ("task", "model", "eval_set", "metric", "method", "variant"),
        ("observed", "deviation", "detectable"),
    )
    types = {**dict.fromkeys(texts, pa.string()), "n_pairs": pa.int64(), **dict.fromkeys(numbers, pa.float64()),
             "seeds_needed": pa.int64()}  # fmt: skip
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()})
