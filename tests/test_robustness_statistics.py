"""Trends of shifted on in-domain scores, and effective robustness: planted shapes, coverage, references."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from ftbench.statistics.effective import Runs, effective_robustness, fit, logit, obstacle
from ftbench.statistics.trend import SIDE, classify

SHAPES = {
    "I": lambda x: 0.2 + 0.5 * x,
    "II": lambda x: 0.3 + 0.2 * x + 2.0 * np.maximum(x - 0.75, 0),
    "III": lambda x: 0.6 - 0.5 * x + 2.0 * np.maximum(x - 0.75, 0),
}


def planted(shape: str, seed: int, noise: float = 0.008, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    inside = generator.uniform(0.55, 0.92, count)
    return inside, SHAPES[shape](inside) + generator.normal(0, noise, count)


@pytest.mark.parametrize("shape", SHAPES)
def test_planted_lines_knees_and_valleys_are_recognised_with_slopes_and_knee(shape: str) -> None:
    found = [classify(*planted(shape, seed), np.random.default_rng(seed), 300) for seed in range(20)]
    assert sum(trend.kind == shape for trend in found) >= 18
    slopes = {"I": (0.5,), "II": (0.2, 2.2), "III": (-0.5, 1.5)}[shape]
    right = [trend for trend in found if trend.kind == shape]
    assert np.mean([trend.slopes for trend in right], axis=0) == pytest.approx(slopes, abs=0.12)
    if shape != "I":
        assert np.mean([trend.knee for trend in right]) == pytest.approx(0.75, abs=0.02)


def test_noise_is_rarely_taken_for_a_knee_and_never_for_a_rising_line_beyond_the_level() -> None:
    generator = np.random.default_rng(5)
    kinds = []
    for _ in range(100):
        found = classify(generator.uniform(0.5, 0.9, 30), generator.normal(0.6, 0.03, 30), generator, 200)
        kinds.append((found.kind, len(found.slopes)))
    assert sum(length == 2 for _, length in kinds) <= 10
    assert sum(kind != "undetermined" for kind, _ in kinds) <= 10  # 2.5 % of flat lines, and some knees


def test_the_slope_of_a_line_is_that_of_least_squares_and_its_interval_covers() -> None:
    inside, shifted = planted("I", 3)
    assert classify(inside, shifted, np.random.default_rng(0)).slopes[0] == pytest.approx(
        np.polyfit(inside, shifted, 1)[0]
    )
    covered = 0
    for seed in range(120):
        trend = classify(*planted("I", 100 + seed, noise=0.02), np.random.default_rng(seed), 400)
        covered += len(trend.slopes) == 1 and trend.intervals[0][0] <= 0.5 <= trend.intervals[0][1]  # type: ignore[index]
    assert covered >= 104  # 95 % of 120, less three standard deviations of a count


def test_the_knee_is_the_best_of_all_places_with_enough_points_on_each_side() -> None:
    inside, shifted = planted("III", 9)
    inside, shifted = (values[np.argsort(inside)] for values in (inside, shifted))
    rest = {}
    for place in range(SIDE - 1, len(inside) - SIDE):
        columns = np.stack([np.ones_like(inside), inside, np.maximum(inside - inside[place], 0)], axis=1)
        rest[place] = np.linalg.lstsq(columns, shifted, rcond=None)[1][0]
    best = min(rest, key=rest.__getitem__)
    trend = classify(inside, shifted, np.random.default_rng(0))
    line = np.polyfit(inside, shifted, 1, full=True)[1][0]
    count = len(inside)
    assert trend.knee == pytest.approx(inside[best])
    assert trend.bic_gain == pytest.approx(count * np.log(line / rest[best]) - 2 * np.log(count))


def test_too_few_or_equal_points_are_undetermined_with_a_reason() -> None:
    few = classify(np.linspace(0.5, 0.9, 9), np.linspace(0.5, 0.9, 9), np.random.default_rng(0))
    assert (few.kind, few.slopes, few.reason) == ("undetermined", (), "9 points; a knee needs 5 on each side")
    flat = classify(np.full(20, 0.8), np.linspace(0.5, 0.9, 20), np.random.default_rng(0))
    assert flat.reason == "all runs have one in-domain score"
    falling = classify(np.linspace(0.5, 0.9, 20), np.linspace(0.9, 0.5, 20), np.random.default_rng(0))
    assert (falling.kind, falling.reason) == ("undetermined", "one line, whose slope is negative")


def family(generator: np.random.Generator, count: int = 25, rows: int = 1000) -> tuple[Runs, np.ndarray]:
    """Runs on logit(shifted) = -0.4 + 0.8 logit(in domain), with noise of runs and of `rows` examples."""
    true = generator.uniform(0.6, 0.93, count)
    shifted = expit(-0.4 + 0.8 * np.log(true / (1 - true)) + generator.normal(0, 0.03, count))
    return Runs(generator.binomial(rows, true) / rows, generator.binomial(rows, shifted) / rows), true


def test_the_line_is_least_squares_on_logits_and_scores_of_0_and_1_are_clipped_by_half_a_row() -> None:
    runs, _ = family(np.random.default_rng(1))
    line = fit(runs, (1000, 1000))
    slope, intercept = np.polyfit(*(np.log(v / (1 - v)) for v in (runs.inside, runs.shifted)), 1)
    assert (line.slope, line.intercept) == pytest.approx((slope, intercept))
    assert 0.9 < line.r_squared < 1
    assert logit(np.array([0.0, 0.5, 1.0]), 50) == pytest.approx([np.log(0.01 / 0.99), 0, -np.log(0.01 / 0.99)])


def test_intervals_of_effective_robustness_cover_what_was_planted() -> None:
    """Runs of the family and of the model vary, and so do examples: draws of both are handed in."""
    planted_gain, rows, covered, widths = 0.04, 600, 0, []
    for seed in range(100):
        generator = np.random.default_rng(seed)
        runs, _ = family(generator, rows=rows)
        true = np.full(5, 0.85)
        above = expit(-0.4 + 0.8 * np.log(true / (1 - true)) + generator.normal(0, 0.03, 5)) + planted_gain
        # seeds share the examples, so their scores on them move together
        noise = generator.normal(0, 1, 2)
        inside = true + noise[0] * np.sqrt(true * (1 - true) / rows)
        shifted = above + noise[1] * np.sqrt(above * (1 - above) / rows)
        moved = generator.normal(0, 1, (2, 300))
        model = Runs(
            inside, shifted,
            inside[:, None] + moved[0] * np.sqrt(true * (1 - true) / rows)[:, None],
            shifted[:, None] + moved[1] * np.sqrt(above * (1 - above) / rows)[:, None],
        )  # fmt: skip
        value, interval = effective_robustness(runs, model, (rows, rows), generator, 300)
        assert interval is not None
        widths.append(interval[1] - interval[0])
        covered += interval[0] <= planted_gain <= interval[1]
        assert value == pytest.approx(planted_gain, abs=0.12)
    assert 88 <= covered <= 100
    assert np.mean(widths) < 0.12


def test_resampled_examples_widen_the_interval_and_a_plain_run_has_none_beyond_chance() -> None:
    generator = np.random.default_rng(2)
    runs, _ = family(generator)
    model = Runs(runs.inside[:4], runs.shifted[:4])
    noise = generator.normal(0, 0.03, (2, 500))
    wide = Runs(model.inside, model.shifted, model.inside[:, None] + noise[0], model.shifted[:, None] + noise[1])
    value, narrow = effective_robustness(runs, model, (1000, 1000), np.random.default_rng(0), 500)
    other, wider = effective_robustness(runs, wide, (1000, 1000), np.random.default_rng(0), 500)
    assert value == other
    assert narrow is not None
    assert wider is not None
    assert wider[1] - wider[0] > 1.5 * (narrow[1] - narrow[0])
    assert narrow[0] < 0 < narrow[1]


def test_a_narrow_or_small_family_gives_no_expectation_and_says_why() -> None:
    narrow = Runs(np.linspace(0.80, 0.849, 9), np.linspace(0.6, 0.7, 9))
    assert obstacle(narrow) == "the family spans 4.9 points in domain; a line needs 5"
    assert obstacle(Runs(narrow.inside[:2], narrow.shifted[:2])) == "2 runs in the family; a line needs 3"
    assert obstacle(Runs(np.linspace(0.8, 0.86, 3), np.zeros(3))) is None
