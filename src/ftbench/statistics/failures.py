"""How often training fails: the share of failed or collapsed runs with an interval that holds for few runs."""

from __future__ import annotations


def failure_rate(failed: int, runs: int, level: float = 0.95) -> tuple[float, float, float] | None:
    """Share of failed runs with Wilson's interval; null without runs.

    (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n): none of five runs failing still leaves an upper end
    of 43 %.
    """
    from scipy.special import ndtri

    if runs == 0:
        return None
    share = failed / runs
    normal = float(ndtri((1 + level) / 2))
    centre = share + normal**2 / (2 * runs)
    reach = normal * (share * (1 - share) / runs + normal**2 / (4 * runs**2)) ** 0.5
    scale = 1 + normal**2 / runs
    return share, max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)
