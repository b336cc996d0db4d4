"""The tables of the stage `compare`: tests of two methods, and the standing of each over several sets."""

from __future__ import annotations

from ftbench.tables.column import FLAG, INTEGER, NUMBER, TEXT, Column, Table
from ftbench.tables.recurring import EVAL_SET, METHOD, METRIC, MODEL, ROLE, STUDY, TASK, VARIANT

VERDICTS = ("better", "worse", "no evidence", "too few seeds")
TESTS = ("paired_t", "sign_flip", "none", "permutation", "aso", "hierarchical", "mcnemar")
SCOPES = ("baseline", "pairs")

COMPARISONS = Table(
    "comparisons",
    "One row for each test of two methods and variants at one set and metric, paired by seed.",
    ("scope", "task", "model", "eval_set", "metric", "method", "variant", "baseline", "baseline_variant", "test"),
    (
        STUDY, TASK, MODEL, EVAL_SET, ROLE, METRIC, METHOD, VARIANT,
        Column("baseline", TEXT, "method compared with: the study's baseline, or the other one of a pair"),
        Column("baseline_variant", TEXT, "its variant; of the study's baseline `default`, or the first by name"),
        Column("scope", TEXT, "baseline: each method with the study's baseline; pairs: every two methods, for the"
               " leading metric", values=SCOPES),
        Column("test", TEXT, "over seeds: paired_t; sign_flip where all differences are equal, so that a t-test has"
               " no meaning; none below two pairs; permutation (signs of the differences), aso (almost stochastic"
               " order). hierarchical: bootstrap of seeds and examples jointly. mcnemar: over examples, of these"
               " runs only", values=TESTS),
        Column("primary", FLAG, "whether leaderboards show this row's verdict: true for the tests paired_t, sign_flip"
               " and none, of which a pair has one"),
        Column("higher_is_better", FLAG, "direction of the metric"),
        Column("n_pairs", INTEGER, "seeds for which both scores exist", low=0),
        Column("n_missing", INTEGER, "seeds of the study without such a pair", low=0),
        Column("n_examples", INTEGER, "examples resampled or counted; null for tests over seeds", nullable=True, low=1),
        Column("resamples", INTEGER, "bootstrap resamples of seeds and examples", nullable=True, low=1),
        Column("mean", NUMBER, "mean of the method over the seeds; null while a pair is missing, and beside the"
               " primary test", nullable=True),
        Column("baseline_mean", NUMBER, "the same of the baseline", nullable=True),
        Column("difference", NUMBER, "mean of method minus baseline over the pairs", nullable=True),
        Column("ci_low", NUMBER, "lower end of its 95 % interval: t over seeds; BCa bootstrap of seeds for permutation;"
               " percentile of the joint bootstrap for hierarchical", nullable=True),
        Column("ci_high", NUMBER, "upper end of that interval", nullable=True),
        Column("statistic", NUMBER, "mcnemar: examples on which more seeds of the method are right, minus the others;"
               " aso: eps_min, below 0.2 the method is ahead", nullable=True),
        Column("effect_size", NUMBER, "difference in standard deviations of the paired differences, corrected for few"
               " pairs", nullable=True),
        Column("superiority", NUMBER, "how often a run of the method is better than one of the baseline, ties half",
               nullable=True, low=0, high=1),
        Column("detectable", NUMBER, "smallest difference that this many seeds show with 80 % power, unadjusted",
               nullable=True, low=0),
        Column("seeds_needed", INTEGER, "seeds that would show a difference of this size with 80 % power, unadjusted;"
               " null beyond 10,000", nullable=True, low=2),
        Column("p_value", NUMBER, "two-sided p of the test; null for aso", nullable=True, low=0, high=1),
        Column("p_adjusted", NUMBER, "Holm-adjusted p within the family; null with too few seeds",
               nullable=True, low=0, high=1),
        Column("q_value", NUMBER, "the same by Benjamini and Hochberg", nullable=True, low=0, high=1),
        Column("family", TEXT, "the comparisons adjusted together, by `statistics.family` of the study: one kind of"
               " test, with the baseline or of all pairs"),
        Column("family_size", INTEGER, "tested comparisons in the family", low=0),
        Column("verdict", TEXT, "in words, at 5 % after adjustment", values=VERDICTS),
    ),
    ordered=(("ci_low", "ci_high"),),
)  # fmt: skip

STANDINGS = Table(
    "standings",
    "One row for each method and variant over all tasks and sets of a role: the aggregates of a study.",
    ("model", "role", "metric", "method", "variant"),
    (
        STUDY, MODEL, ROLE, METRIC, METHOD, VARIANT,
        Column("n_sets", INTEGER, "sets with this metric", low=1),
        Column("n_complete", INTEGER, "sets on which every method has every seed; ranks and win rates are over them",
               low=0),
        Column("n_runs", INTEGER, "runs of the method that ended, whatever their status", low=0),
        Column("n_failed", INTEGER, "of these, runs that failed or collapsed", low=0),
        Column("failed_share", NUMBER, "their share", nullable=True, low=0, high=1),
        Column("failed_low", NUMBER, "lower end of its 95 % interval (Wilson)", nullable=True, low=0, high=1),
        Column("failed_high", NUMBER, "upper end of that interval", nullable=True, low=0, high=1),
        Column("scale", TEXT, "how scores were put on one scale for the interquartile mean: chance (chance 0, perfect"
               " 1), raw (fractions as they are); null for metrics that are no fractions", nullable=True,
               values=("chance", "raw")),
        Column("iqm", NUMBER, "interquartile mean over sets and seeds; null while a score is missing", nullable=True),
        Column("iqm_low", NUMBER, "lower end of its 95 % interval, bootstrap of runs within sets", nullable=True),
        Column("iqm_high", NUMBER, "upper end of that interval", nullable=True),
        Column("mean_rank", NUMBER, "mean rank over the complete sets, 1 the best", nullable=True, low=1),
        Column("critical_difference", NUMBER, "mean ranks closer than this are not told apart (Nemenyi, 5 %)",
               nullable=True, low=0),
        Column("friedman_p", NUMBER, "p of all methods ranking alike", nullable=True, low=0, high=1),
        Column("win_rate", NUMBER, "share of complete sets with a better mean than the baseline, ties half",
               nullable=True, low=0, high=1),
        Column("improvement", NUMBER, "probability that a run is better than one of the baseline, mean over sets",
               nullable=True, low=0, high=1),
        Column("improvement_low", NUMBER, "lower end of its 95 % interval", nullable=True, low=0, high=1),
        Column("improvement_high", NUMBER, "upper end of that interval", nullable=True, low=0, high=1),
    ),
    ordered=(("iqm_low", "iqm_high"), ("improvement_low", "improvement_high"), ("failed_low", "failed_high")),
)  # fmt: skip
