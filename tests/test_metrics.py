"""Every metric against an independent implementation, and its bootstrap against plain resampling of rows."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from ftbench.config.errors import FtbenchError
from ftbench.metrics.base import DEFAULTS, Metric, Predictions
from ftbench.metrics.entities import TagSequences, entities
from ftbench.metrics.resampling import generator_for, percentile_interval
from ftbench.plugins import plugin, plugins

GOLDEN = Path(os.environ.get("FTBENCH_GOLDEN", Path(__file__).parents[2] / "shared" / "golden"))
NAMES = sorted(plugins("metrics"))


def metric(name: str) -> Metric:
    found = plugin("metrics", name).factory()
    assert isinstance(found, Metric)
    return found


def classification(rows: int = 300, labels: int = 3, seed: int = 0, without: int = 0) -> Predictions:
    """Noisy predictions; the first `without` rows have none."""
    generator = np.random.default_rng(seed)
    gold = generator.integers(0, labels, size=rows)
    logits = generator.normal(size=(rows, labels)) + 1.2 * np.eye(labels)[gold]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    pred = probabilities.argmax(axis=1)
    pred[:without] = -1
    none = np.zeros(0)
    return Predictions("classification", tuple("abcdefgh"[:labels]), gold, pred, probabilities, none, none)


def regression(rows: int = 200, seed: int = 0) -> Predictions:
    generator = np.random.default_rng(seed)
    gold = generator.integers(0, 11, size=rows) / 2.0
    predicted = gold + generator.normal(size=rows)
    whole = np.zeros(0, dtype=np.int64)
    return Predictions("regression", (), whole, whole, np.zeros((0, 0)), gold, predicted)


def text(rows: int = 200, seed: int = 0) -> Predictions:
    """Rows of 1 to 12 words with summed losses, some of the words right."""
    generator = np.random.default_rng(seed)
    words = generator.integers(1, 13, size=rows)
    counted = np.stack([generator.gamma(words), words, generator.binomial(words, 0.6)], axis=1).astype(float)
    none, whole = np.zeros(0), np.zeros(0, dtype=np.int64)
    return Predictions("text", (), whole, whole, np.zeros((0, 0)), none, none, counted)


def sequences(rows: int = 150, seed: int = 0) -> TagSequences:
    """Sequences of 1 to 8 tags, any tag behind any other; a fifth of the predicted ones are drawn anew."""
    generator = np.random.default_rng(seed)
    tags = np.array(["O", "B-a", "I-a", "B-b", "I-b"])
    gold = [generator.choice(tags, generator.integers(1, 9)).tolist() for _ in range(rows)]
    pred = [[str(generator.choice(tags)) if generator.random() < 0.2 else tag for tag in row] for row in gold]
    return TagSequences.of(gold, pred)


@cache
def every_span(tags: tuple[str, ...]) -> frozenset[tuple[str, int, int]]:
    """All spans that are entities by definition: one type throughout, begun there, not gone on with, no `B` inside."""

    def begins(place: int) -> bool:
        goes_on = place > 0 and tags[place - 1] in (f"B-{tags[place][2:]}", f"I-{tags[place][2:]}")
        return tags[place].startswith("B-") or (tags[place] != "O" and not goes_on)

    def whole(first: int, last: int) -> bool:
        inside = all(tags[place] == f"I-{tags[first][2:]}" for place in range(first + 1, last + 1))
        return inside and (last + 1 == len(tags) or tags[last + 1] != f"I-{tags[first][2:]}")

    pairs = ((first, last) for first in range(len(tags)) for last in range(first, len(tags)))
    return frozenset((tags[first][2:], first, last) for first, last in pairs if begins(first) and whole(first, last))


def sample_for(name: str) -> Predictions:
    if "sequence" in metric(name).kinds:
        return sequences()
    if "text" in metric(name).kinds:
        return text()
    if "regression" in metric(name).kinds:
        return regression()
    return classification(labels=2 if name == "f1" else 3)


def calibration_reference(name: str, confidence: np.ndarray, right: np.ndarray) -> float:
    """Errors written out; for bins of equal mass every row stands 15 times, so that 15 divides them."""
    if name == "mce":
        edges = [(number / 15, (number + 1) / 15) for number in range(15)]
        chosen = [(confidence > low) & (confidence <= high) for low, high in edges]
        return float(max(abs(right[one].mean() - confidence[one].mean()) for one in chosen if one.any()))
    order = np.argsort(confidence, kind="stable")
    gap = (right - confidence)[order]
    for value in np.unique(confidence):  # equal confidence: an equal share of what is right
        same = confidence[order] == value
        gap[same] = gap[same].mean()
    return float(np.mean([abs(part.mean()) for part in np.array_split(np.repeat(gap, 15), 15)]))


def reference(name: str, given: Predictions) -> float:
    """The score by scikit-learn or scipy, or written out where neither has it."""
    gold, pred, probabilities = given.gold, given.pred, given.probabilities
    x, y = given.gold_value, given.pred_value
    match name:
        case "accuracy":
            return float(sklearn.metrics.accuracy_score(gold, pred))
        case "f1_macro":
            return float(sklearn.metrics.f1_score(gold, pred, average="macro"))
        case "f1":
            return float(sklearn.metrics.f1_score(gold, pred, pos_label=1))
        case "balanced_accuracy":
            return float(sklearn.metrics.balanced_accuracy_score(gold, pred))
        case "f1_micro":
            return float(sklearn.metrics.f1_score(gold, pred, average="micro"))
        case "auroc":
            return float(sklearn.metrics.roc_auc_score(gold, probabilities, multi_class="ovr", average="macro"))
        case "mce" | "ece_mass":
            return calibration_reference(name, probabilities.max(axis=1), pred == gold)
        case "matthews":
            return float(sklearn.metrics.matthews_corrcoef(gold, pred))
        case "nll":
            return float(sklearn.metrics.log_loss(gold, probabilities, labels=range(len(given.labels))))
        case "brier":
            return float(np.mean(np.sum((probabilities - np.eye(len(given.labels))[gold]) ** 2, axis=1)))
        case "ece":
            total = 0.0
            for number in range(15):
                inside = (probabilities.max(1) > number / 15) & (probabilities.max(1) <= (number + 1) / 15)
                if inside.any():
                    gap = np.mean((pred == gold)[inside]) - np.mean(probabilities.max(1)[inside])
                    total += inside.mean() * abs(gap)
            return total
        case "ece_classwise":
            errors = []
            for label in range(len(given.labels)):
                share, found = probabilities[:, label], gold == label
                edges = [(number / 15, (number + 1) / 15) for number in range(15)]
                filled = [(share > low) & (share <= high) for low, high in edges]
                errors += [one.mean() * abs(found[one].mean() - share[one].mean()) for one in filled if one.any()]
            return float(np.sum(errors) / len(given.labels))
        case "pearson":
            return float(np.corrcoef(x, y)[0, 1])
        case "spearman":
            return float(np.corrcoef(scipy.stats.rankdata(x), scipy.stats.rankdata(y))[0, 1])
        case "pearson_spearman":
            return (reference("pearson", given) + reference("spearman", given)) / 2
        case "mse":
            return float(sklearn.metrics.mean_squared_error(x, y))
        case "word_loss" | "word_accuracy":
            assert given.words is not None
            return float(np.average(given.words[:, 0 if name == "word_loss" else 2] / given.words[:, 1],
                                    weights=given.words[:, 1]))  # fmt: skip
        case "entity_f1" | "entity_precision" | "entity_recall":
            assert isinstance(given, TagSequences)
            sides = [
                {(row, *span) for row, tags in enumerate(side) for span in every_span(tags)}
                for side in (given.gold_tags, given.pred_tags)
            ]
            right = len(sides[0] & sides[1])
            precision, recall = right / len(sides[1]), right / len(sides[0])
            f1 = 2 * precision * recall / (precision + recall)
            return {"entity_f1": f1, "entity_precision": precision, "entity_recall": recall}[name]
    raise AssertionError(f"no reference for the metric `{name}`: add one")


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_agrees_with_an_independent_implementation(name: str) -> None:
    for seed in range(5):
        given = sample_for(name)
        rows = np.random.default_rng(seed).integers(0, len(given), size=150)
        given = given.take(rows)
        assert metric(name).score(given) == pytest.approx(reference(name, given), abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_bootstrap_has_the_distribution_of_resampled_rows(name: str) -> None:
    given = sample_for(name)
    drawn = metric(name).resampled(given, np.random.default_rng(1), 2000)
    generator = np.random.default_rng(2)
    drawings = 4000 if name == "mce" else 600  # a single row can decide it: its upper quantiles need more samples
    plain = [reference(name, given.take(generator.integers(0, len(given), size=len(given)))) for _ in range(drawings)]
    spread = float(np.std(plain))
    assert drawn.shape == (2000,)
    # 600 plain samples know the mean to 0.04 and each quantile to about 0.1 standard deviations
    assert abs(drawn.mean() - np.mean(plain)) < 0.2 * spread
    np.testing.assert_allclose(
        np.percentile(drawn, [2.5, 25, 75, 97.5]),
        np.percentile(plain, [2.5, 25, 75, 97.5]),
        atol=0.4 * spread,
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_is_complete_deterministic_and_within_its_bounds(name: str) -> None:
    found, given = metric(name), sample_for(name)
    assert found.summary
    assert set(found.kinds) <= {*DEFAULTS, "sequence"}  # no task has sequences, so nothing is scored by default
    assert found.unit in ("fraction", "number")
    low, high = found.bounds
    first, second = (found.resampled(given, generator_for("artifact", "set", name), 100) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert low <= found.score(given) <= high
    assert ((first >= low) & (first <= high)).all()
    assert found.obstacle(given) is None
    other = regression() if given.kind == "classification" else classification()
    assert found.obstacle(other) is not None


# calibration is not monotone in the quality of single predictions
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("ece", "ece_classwise", "ece_mass", "mce")])
def test_better_predictions_score_better(name: str) -> None:
    found, given = metric(name), sample_for(name)
    if given.words is not None:
        perfect = dataclasses.replace(given, words=given.words * [0, 1, 0] + given.words[:, [1]] * [0, 0, 1])
    elif isinstance(given, TagSequences):
        perfect = dataclasses.replace(given, pred_tags=given.gold_tags)
    elif given.kind == "regression":
        whole = np.zeros(0, dtype=np.int64)
        perfect = Predictions("regression", (), whole, whole, np.zeros((0, 0)), given.gold_value, given.gold_value)
    else:
        sure = np.eye(len(given.labels))[given.gold]
        perfect = Predictions("classification", given.labels, given.gold, given.gold, sure, *[np.zeros(0)] * 2)
    assert (found.score(perfect) > found.score(given)) == found.higher_is_better


def test_the_stored_calibration_case_is_met() -> None:
    folder = GOLDEN / "calibration"
    if not folder.is_dir():
        pytest.skip(f"no reference numbers at {folder}; set FTBENCH_GOLDEN")
    from safetensors.numpy import load_file

    inputs = load_file(folder / "inputs.safetensors")
    case = json.loads((folder / "case.json").read_text())
    probabilities, gold = inputs["probability"], inputs["labels"].astype(np.int64)
    given = Predictions(
        "classification",
        ("a", "b", "c"),
        gold,
        probabilities.argmax(1),
        probabilities,
        np.zeros(0),
        np.zeros(0),
    )
    values, tolerance = case["values"], case["tolerance"]
    assert metric("ece").score(given) == pytest.approx(values["ece15"], abs=tolerance["ece_abs"])
    assert metric("mce").score(given) == pytest.approx(values["mce15"], abs=tolerance["ece_abs"])
    for name, key in (("accuracy", "accuracy"), ("brier", "brier_sum"), ("nll", "nll")):
        assert metric(name).score(given) == pytest.approx(values[key], abs=tolerance["others_abs"])


def test_bins_of_the_calibration_error_are_closed_on_the_right() -> None:
    edge = 9 / 15  # in the ninth bin together with 0.55; one bin higher it would stand alone
    probabilities = np.array([[edge, 1 - edge], [0.55, 0.45]])
    gold = np.array([0, 1])
    given = Predictions("classification", ("a", "b"), gold, np.array([0, 0]), probabilities, np.zeros(0), np.zeros(0))
    together = abs(0.5 - (edge + 0.55) / 2)
    assert metric("ece").score(given) == pytest.approx(together)


def test_a_row_without_a_prediction_counts_as_wrong_and_is_no_label() -> None:
    given = classification(rows=60, labels=3, without=6)
    assert metric("accuracy").score(given) == pytest.approx(np.mean(given.pred == given.gold))
    labels = [0, 1, 2]
    expected = sklearn.metrics.f1_score(given.gold, given.pred, labels=labels, average="macro")
    assert metric("f1_macro").score(given) == pytest.approx(expected)
    assert metric("matthews").score(given) == pytest.approx(sklearn.metrics.matthews_corrcoef(given.gold, given.pred))
    assert np.isnan(metric("ece").score(given))


def test_labels_that_nobody_uses_do_not_enter_the_macro_mean() -> None:
    gold, pred = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    given = Predictions("classification", ("a", "b", "c"), gold, pred, np.full((4, 3), 1 / 3), *[np.zeros(0)] * 2)
    assert metric("f1_macro").score(given) == pytest.approx(sklearn.metrics.f1_score(gold, pred, average="macro"))


def test_constant_predictions_have_no_correlation_and_no_matthews() -> None:
    flat = regression()
    flat = Predictions("regression", (), flat.gold, flat.pred, flat.probabilities, flat.gold_value, 0 * flat.gold_value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(np.isnan(metric(name).score(flat)) for name in ("pearson", "spearman", "pearson_spearman"))
    same = classification()
    same = Predictions("classification", same.labels, same.gold, 0 * same.pred, same.probabilities, *[np.zeros(0)] * 2)
    assert metric("matthews").score(same) == 0


def test_the_positive_label_of_f1_is_the_last_and_more_labels_are_refused() -> None:
    gold, pred = np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0])
    given = Predictions("classification", ("no", "yes"), gold, pred, np.full((4, 2), 0.5), *[np.zeros(0)] * 2)
    assert metric("f1").score(given) == pytest.approx(2 / 3)
    obstacle = metric("f1").obstacle(classification(labels=3))
    assert obstacle is not None
    assert "f1_macro" in obstacle


def test_intervals_cover_the_true_accuracy_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        right = generator.random(200) < 0.7
        gold = np.zeros(200, dtype=np.int64)
        probabilities = np.tile([0.5, 0.5], (200, 1))
        given = Predictions(
            "classification", ("a", "b"), gold, 1 - right.astype(int), probabilities, *[np.zeros(0)] * 2
        )
        interval = percentile_interval(metric("accuracy").resampled(given, generator_for(str(trial)), 500))
        assert interval is not None
        covered += interval[0] <= 0.7 <= interval[1]
    # three standard errors of 300 trials at 0.95 are 0.038
    assert covered / 300 == pytest.approx(0.945, abs=0.04)


def test_an_interval_is_empty_where_many_resamples_are_undefined() -> None:
    values = np.arange(100.0)
    assert percentile_interval(values) is not None
    values[:10] = np.nan
    assert percentile_interval(values) is None
    assert percentile_interval(np.zeros(0)) is None


def test_an_auroc_of_one_gold_label_is_undefined_with_a_reason() -> None:
    given = classification()
    one = given.take(np.flatnonzero(given.gold == 1))
    assert np.isnan(metric("auroc").score(one))
    assert "['b']" in str(metric("auroc").undefined(one))
    assert np.isnan(metric("auroc").resampled(one, generator_for("a"), 10)).all()
    assert metric("auroc").undefined(given) is None


def test_the_auroc_of_two_labels_is_that_of_the_last() -> None:
    given = classification(labels=2)
    expected = sklearn.metrics.roc_auc_score(given.gold, given.probabilities[:, 1])
    assert metric("auroc").score(given) == pytest.approx(expected)


def test_micro_f1_misses_a_row_without_a_prediction() -> None:
    given = classification(rows=60, without=6)
    expected = sklearn.metrics.f1_score(given.gold, given.pred, labels=[0, 1, 2], average="micro")
    assert metric("f1_micro").score(given) == pytest.approx(expected)


def test_bins_of_equal_mass_do_not_depend_on_the_order_of_rows() -> None:
    given = classification(rows=97)
    coarse = np.round(given.probabilities, 1)  # many rows of one confidence
    tied = Predictions("classification", given.labels, given.gold, given.pred, coarse, *[np.zeros(0)] * 2)
    turned = tied.take(np.random.default_rng(0).permutation(97))
    assert metric("ece_mass").score(tied) == pytest.approx(metric("ece_mass").score(turned), abs=1e-12)


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ("O O", set()),
        ("B-a I-a O B-b", {("a", 0, 1), ("b", 3, 3)}),
        ("I-a I-a", {("a", 0, 1)}),  # begun without `B`
        ("O I-a O I-a", {("a", 1, 1), ("a", 3, 3)}),
        ("B-a I-b I-b", {("a", 0, 0), ("b", 1, 2)}),  # another type inside
        ("B-a B-a I-a", {("a", 0, 0), ("a", 1, 2)}),  # side by side
        ("I-a B-a", {("a", 0, 0), ("a", 1, 1)}),
        ("B-a-b I-a-b I-a", {("a-b", 0, 1), ("a", 2, 2)}),  # a type may have a hyphen
        ("", set()),
    ],
)
def test_entities_are_read_as_the_evaluation_of_conll_2000_reads_them(tags: str, wanted: set[object]) -> None:
    assert entities(tags.split()) == wanted == every_span(tuple(tags.split()))


def entity_scores(gold: list[str], pred: list[str]) -> list[float]:
    given = TagSequences.of([row.split() for row in gold], [row.split() for row in pred])
    return [metric(f"entity_{name}").score(given) for name in ("precision", "recall", "f1")]


def test_an_entity_counts_only_as_a_whole_and_in_its_own_row() -> None:
    # one boundary and one type wrong, two right
    found = entity_scores(["O B-a I-a O", "B-a O B-b B-b"], ["B-a I-a I-a O", "B-b O B-b B-b"])
    assert found == pytest.approx([2 / 4, 2 / 4, 2 / 4])
    found = entity_scores(["B-a O", "B-a I-a"], ["B-a B-a", "B-a I-a"])
    assert found == pytest.approx([2 / 3, 1.0, 4 / 5])
    assert entity_scores(["O B-a", "O O"], ["O O", "O B-a"]) == [0.0, 0.0, 0.0]
    assert entity_scores(["O O"], ["O O"]) == [0.0, 0.0, 0.0]  # nothing to find


@pytest.mark.parametrize(
    ("gold", "pred", "told"),
    [
        ([["O", "O"]], [["O"]], r"row 0: found 1 predicted tags for 2 gold ones.*cut off"),
        ([["O"], ["O"]], [["O"]], r"found 1 predicted sequences for 2"),
        ([["O"], ["S-a"]], [["O"], ["O"]], r"row 1: found the tag 'S-a'; expected `O`, `B-type` or `I-type`"),
        ([["O"]], [["B-"]], r"found the tag 'B-'"),
        ([["O"]], [["PER"]], r"found the tag 'PER'"),
    ],
)
def test_sequences_that_are_not_tagged_word_by_word_are_refused(
    gold: list[list[str]], pred: list[list[str]], told: str
) -> None:
    with pytest.raises(FtbenchError, match=told):
        TagSequences.of(gold, pred)


def test_the_class_wise_error_sees_labels_that_were_not_predicted() -> None:
    # rows that are sure of `a` by 0.6 and right in 6 of 10: the predicted label is calibrated, the two others are not
    shares, gold = np.tile([0.6, 0.4, 0.0], (10, 1)), np.array([0] * 6 + [2] * 4)
    none = np.zeros(0)
    given = Predictions("classification", ("a", "b", "c"), gold, np.zeros(10, dtype=np.int64), shares, none, none)
    assert metric("ece").score(given) == pytest.approx(0, abs=1e-12)
    assert metric("ece_classwise").score(given) == pytest.approx((0 + 0.4 + 0.4) / 3)
