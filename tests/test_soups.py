"""Soups: recipes against published results, averages against exact arithmetic, and what may be averaged at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import case, needs_golden
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from opened import average, check_same_layout
from safetensors.numpy import save_file

from ftbench.config.errors import FtbenchError
from ftbench.plugins import plugins
from ftbench.soups.base import Candidate, Decision, Kitchen, best_first, mean_of
from ftbench.soups.greedy import Greedy
from ftbench.soups.uniform import Uniform

RECIPES = sorted(plugins("soups"))
# recipes that choose by scores alone; what measures or learns is put through the stage in test_recipe_stages
CHOOSING = ["greedy", "random_k", "top_k", "uniform"]


def kitchen(scores: Mapping[str, float], score: Callable[[Mapping[str, float]], float]) -> Kitchen:
    """Candidates in the given order."""
    return Kitchen([Candidate(name, Path(name), value) for name, value in scores.items()], score)


def greedy(scores: Mapping[str, float], trials: Mapping[int, float], accept: str = "gt") -> Decision:
    """The greedy decision where the score of a soup depends on the number of its ingredients alone."""
    recipe = Greedy(Greedy.Config.model_validate({"accept": accept}))
    return recipe.decide(kitchen(scores, lambda weights: trials[len(weights)]))


# recipes


@needs_golden
def test_the_greedy_soup_equals_the_published_code_on_its_example(tmp_path: Path) -> None:
    stored = case("greedy_soup")
    values = stored.content["values"]
    files = {}
    for name in values["scores"]:
        files[name] = tmp_path / f"{name}.safetensors"
        save_file({key: stored.inputs[f"{name}/{key}"].numpy() for key in "wb"}, str(files[name]))
    target = stored.inputs["target"].double()

    def score(weights: Mapping[str, float]) -> float:
        mixed = average({files[name]: weight for name, weight in weights.items()})
        flat = torch.cat([mixed["w"].reshape(-1), mixed["b"]]).double()
        return round(0.9 - float(((flat - target) ** 2).mean()), 6)

    for name, expected in values["scores"].items():
        assert score({name: 1.0}) == pytest.approx(expected, abs=1e-9)
    # ties: the published code puts the later-listed first, we sort by run id; here its order is given
    ordered = {name: values["scores"][name] for name in values["sorted_models"]}
    decision = Greedy(Greedy.Config()).decide(kitchen(ordered, score))
    assert list(decision.weights) == values["accepted"]
    assert list(decision.trials) == values["sorted_models"][1:]
    assert list(decision.trials.values()) == pytest.approx(values["trial_scores"], abs=1.01e-6)
    assert score(decision.weights) == pytest.approx(values["best"], abs=1.01e-6)
    soup = average({files[name]: weight for name, weight in decision.weights.items()})
    three = Uniform(Uniform.Config()).decide(kitchen({f"model_{number}": 0.0 for number in range(3)}, score))
    uniform = average({files[name]: weight for name, weight in three.weights.items()})
    for key in "wb":
        tolerance = stored.content["tolerance"]["params_abs"]
        torch.testing.assert_close(soup[key], stored.expected[f"greedy/{key}"], atol=tolerance, rtol=0)
        torch.testing.assert_close(uniform[key], stored.expected[f"uniform3/{key}"], atol=tolerance, rtol=0)


@needs_golden
def test_72_published_models_are_tried_best_first(tmp_path: Path) -> None:
    values = case("soup_order_72").content["values"]
    scores: dict[str, float] = values["scores"]
    ordered = best_first([Candidate(name, tmp_path, score) for name, score in scores.items()])
    tried = [candidate.run_id for candidate in ordered]
    assert [scores[name] for name in tried] == [scores[name] for name in values["sorted_models"]]
    different = [name for name, other in zip(tried, values["sorted_models"], strict=True) if name != other]
    assert sorted(different) == ["model_4", "model_5"]  # the one tie
    decision = Greedy(Greedy.Config()).decide(Kitchen(ordered, lambda _: -1.0))
    assert [tried[0], *decision.trials] == tried


def test_a_tie_is_accepted_only_where_the_settings_say_so() -> None:
    scores = {"a": 0.9, "b": 0.8}
    assert greedy(scores, {2: 0.9}).weights == {"a": 1.0}
    assert greedy(scores, {2: 0.9}, "ge").weights == {"a": 0.5, "b": 0.5}
    assert greedy(scores, {2: 0.91}).weights == {"a": 0.5, "b": 0.5}


def test_the_first_ingredient_is_the_best_single_run_even_where_all_trials_are_worse() -> None:
    decision = greedy({"a": 0.9, "b": 0.8, "c": 0.7}, {2: 0.1})
    assert decision.weights == {"a": 1.0}
    assert decision.trials == {"b": 0.1, "c": 0.1}


def test_a_soup_is_compared_with_the_best_soup_so_far_and_not_with_the_best_run() -> None:
    # b lifts the soup to 0.95; c gives 0.92, better than the best run and worse than the soup
    trials = {2: 0.95, 3: 0.92}
    assert set(greedy({"a": 0.9, "b": 0.8, "c": 0.7}, trials).weights) == {"a", "b"}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.lists(st.floats(0, 1), min_size=8, max_size=8))
def test_no_greedy_soup_scores_below_the_best_run(singles: list[float], trials: list[float]) -> None:
    scores = {f"run{number}": value for number, value in enumerate(sorted(singles, reverse=True))}
    by_size = {1: max(singles), **{size: trials[size - 2] for size in range(2, 10)}}
    decision = greedy(scores, by_size)
    assert by_size[len(decision.weights)] >= max(singles)
    assert sum(decision.weights.values()) == pytest.approx(1)


@pytest.mark.parametrize("recipe", [name for name in RECIPES if plugins("soups")[name].factory.keeps_one])
def test_one_candidate_is_the_soup_with_weight_one(recipe: str) -> None:
    factory = plugins("soups")[recipe].factory
    decision = factory(factory.Config()).decide(kitchen({"only": 0.5}, lambda _: 0.5))
    assert decision.weights == {"only": 1.0}


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_the_best_of_k_are_taken_and_a_random_k_does_not_look_at_scores(count: int) -> None:
    scores = {"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.9}
    top, drawn = plugins("soups")["top_k"].factory, plugins("soups")["random_k"].factory
    ordered = best_first(Candidate(name, Path(name), value) for name, value in scores.items())
    best = top(top.Config(ingredients=count)).decide(Kitchen(ordered, lambda _: 0.0)).weights
    assert list(best) == ["b", "d", "c", "a"][:count]  # ties by name
    assert set(best.values()) == {1 / min(count, 4)}
    found = set()
    for seed in range(60):
        recipe = drawn(drawn.Config(ingredients=count, seed=seed))
        weights = recipe.decide(kitchen(scores, lambda _: 0.0)).weights
        assert weights == recipe.decide(kitchen(dict.fromkeys(scores, 0.5), lambda _: 0.0)).weights
        assert set(weights.values()) == {1 / min(count, 4)}
        found.add(tuple(sorted(weights)))
    assert len(found) == {1: 4, 2: 6, 4: 1, 9: 1}[count]  # every set of k comes up


@pytest.mark.parametrize("recipe", CHOOSING)
@given(
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=6),
    order=st.randoms(use_true_random=False),
    seed=st.integers(0, 99),
)
def test_the_order_in_which_runs_are_given_never_matters(
    recipe: str, scores: list[float], order: object, seed: int
) -> None:
    factory = plugins("soups")[recipe].factory
    candidates = [Candidate(f"run{number}", Path(), score) for number, score in enumerate(scores)]

    def score(weights: Mapping[str, float]) -> float:
        return float(np.random.default_rng([seed, *(int(name[3:]) for name in sorted(weights))]).random())

    first = factory(factory.Config()).decide(Kitchen(best_first(candidates), score))
    order.shuffle(candidates)  # type: ignore[attr-defined]
    again = factory(factory.Config()).decide(Kitchen(best_first(candidates), score))
    assert first == again
    assert sum(first.weights.values()) == pytest.approx(1)
    assert set(first.weights) <= {candidate.run_id for candidate in candidates}


# averages


def written(folder: Path, tensors: list[np.ndarray]) -> list[Path]:
    files = [folder / f"run{number}.safetensors" for number in range(len(tensors))]
    for file, tensor in zip(files, tensors, strict=True):
        save_file({"w": tensor}, str(file))
    return files


FINITE = st.floats(-1e4, 1e4, width=32)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(arrays.arrays(np.float32, 5, elements=FINITE), min_size=1, max_size=6), st.data())
def test_an_average_is_the_exact_one_rounded_once(
    tmp_path: Path, tensors: list[np.ndarray], data: st.DataObject
) -> None:
    counts = data.draw(st.lists(st.integers(1, 9), min_size=len(tensors), max_size=len(tensors)))
    weights = [count / sum(counts) for count in counts]
    files = written(tmp_path, tensors)
    found = average(dict(zip(files, weights, strict=True)))["w"].numpy()
    assert found.dtype == np.float32
    for column in range(5):
        parts = [
            Fraction(weight) * Fraction(float(tensor[column])) for weight, tensor in zip(weights, tensors, strict=True)
        ]
        exact = sum(parts, Fraction())
        # half a unit in the last place of float32, and what double precision loses on the way
        bound = Fraction(float(np.spacing(np.abs(found[column])))) / 2 + sum(map(abs, parts), Fraction()) / 2**50
        assert abs(Fraction(float(found[column])) - exact) <= bound
    reverse = average(dict(reversed(list(zip(files, weights, strict=True)))))["w"].numpy()
    np.testing.assert_allclose(reverse, found, rtol=3e-7, atol=1e-9)


def test_large_parts_that_cancel_leave_the_small_one(tmp_path: Path) -> None:
    tensors = [np.array([value], dtype=np.float32) for value in (1e8, 1.0, -1e8)]
    found = average(dict.fromkeys(written(tmp_path, tensors), 1 / 3))["w"]
    assert float(found) == pytest.approx(1 / 3, abs=1e-6)  # a running mean in float32 gives 0


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_one_ingredient_is_itself_bit_by_bit_whatever_its_type(tmp_path: Path, kind: torch.dtype) -> None:
    from safetensors.torch import save_file as save

    values = torch.randn(100, generator=torch.Generator().manual_seed(0)).to(kind)
    save({"w": values, "positions": torch.arange(3)}, str(tmp_path / "a.safetensors"))
    found = average({tmp_path / "a.safetensors": 1.0})
    assert found["w"].dtype == kind
    assert torch.equal(found["w"], values)
    assert torch.equal(found["positions"], torch.arange(3))


def test_tensors_that_are_no_weights_must_be_equal(tmp_path: Path) -> None:
    files = written(tmp_path, [np.array([1, 2]), np.array([1, 3])])
    with pytest.raises(
        FtbenchError, match=r"run0\.safetensors and \S*run1\.safetensors cannot be averaged.*`w` is not floating"
    ):
        average(dict.fromkeys(files, 0.5))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"w": np.zeros((2, 3), np.float32)}, r"\[2, 2\].*\[2, 3\]"),
        ({"w": np.zeros((2, 2), np.float16)}, "F32.*F16"),
        ({"w": np.zeros((2, 2), np.float32), "extra": np.zeros(1, np.float32)}, "`extra` is absent in the first"),
        ({}, "absent in the second"),
    ],
)
def test_another_layout_is_refused_with_both_files(tmp_path: Path, other: dict[str, np.ndarray], expected: str) -> None:
    save_file({"w": np.zeros((2, 2), np.float32)}, str(tmp_path / "one.safetensors"))
    save_file(other, str(tmp_path / "two.safetensors"))
    files = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    with pytest.raises(FtbenchError, match=r"one\.safetensors and \S*two\.safetensors cannot be averaged.*" + expected):
        check_same_layout([files[0], *files])
    with pytest.raises(FtbenchError, match=r"cannot be averaged|holds no tensor"):
        check_same_layout(files[::-1])


def test_equal_weights_sum_to_one() -> None:
    for count in range(1, 80):
        assert sum(mean_of([str(number) for number in range(count)]).values()) == pytest.approx(1, abs=1e-12)
