"""Recipes that are no plain average: each against its formula, written out again or solved in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from opened import Memory, merge
from safetensors.torch import load_file

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import validated
from ftbench.merging.measuring import fisher_diagonal, input_grams
from ftbench.merging.task_vectors import agreeing_mean, kept_count
from ftbench.plugins import plugins
from ftbench.soups.base import Candidate, Decision, Kitchen, Recipe
from ftbench.soups.breadcrumbs import Breadcrumbs
from ftbench.soups.dare import Dare
from ftbench.soups.della import Della, keep_probabilities
from ftbench.soups.model_stock import ratio, stock
from ftbench.soups.regmean import solved
from ftbench.soups.slerp import arc_weights
from ftbench.soups.task_arithmetic import TaskArithmetic
from ftbench.soups.ties import Ties
from ftbench.soups.wise_ft import on_the_line
from ftbench.training.batches import Batch

RECIPES = {name: found.factory for name, found in plugins("soups").items()}


def models(count: int = 3, shape: tuple[int, ...] = (30, 40)) -> tuple[Memory, dict[str, Memory]]:
    generator = torch.Generator().manual_seed(count)
    start = Memory(w=torch.randn(*shape, generator=generator))
    return start, {
        f"r{i}": Memory(w=start.tensors["w"] + torch.randn(*shape, generator=generator)) for i in range(count)
    }


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_is_and_refuses_unknown_settings(name: str) -> None:
    factory: type[Recipe] = RECIPES[name]
    assert factory.summary
    assert factory.paper
    assert factory.formula
    with pytest.raises(FtbenchError, match=r"settings\.ingredient_count"):
        validated(factory.Config, {"ingredient_count": 1}, "study.yaml", "settings")


def test_the_scale_is_chosen_on_select_and_the_first_of_equals_is_kept() -> None:
    kitchen = Kitchen(
        [Candidate(run, Path(run), 0.5) for run in "ab"],
        lambda _: pytest.fail("a rule is no weighted mean"),
        lambda decision: -abs(decision.details["scale"] - 0.45),
    )
    decision = TaskArithmetic(TaskArithmetic.Config(scales=(0.2, 0.4, 0.5, 0.9))).decide(kitchen)
    assert decision.details["chosen"] == "0.4"
    assert decision.weights == {"a": 0.4, "b": 0.4}
    assert list(decision.details["scales"]) == ["0.2", "0.4", "0.5", "0.9"]
    single = TaskArithmetic(TaskArithmetic.Config(scales=(0.3,), weights="share")).decide(kitchen)
    assert single.weights == {"a": 0.15, "b": 0.15}


def test_task_vectors_with_equal_shares_and_scale_one_are_the_uniform_soup() -> None:
    start, runs = models()
    found = merge(TaskArithmetic(TaskArithmetic.Config()).rule(dict.fromkeys(runs, 1 / 3), 1.0), start, **runs)["w"]
    mean = torch.stack([run.tensors["w"] for run in runs.values()]).double().mean(0).float()
    torch.testing.assert_close(found, mean, atol=1e-6, rtol=0)


def test_the_ends_of_the_line_are_start_and_run() -> None:
    start, runs = models(1)
    assert torch.equal(merge(on_the_line({"r0": 1.0}, 0.0), start, **runs)["w"], start.tensors["w"])
    assert torch.equal(merge(on_the_line({"r0": 1.0}, 1.0), start, **runs)["w"], runs["r0"].tensors["w"])


def test_an_arc_keeps_the_length_and_is_a_line_where_there_is_no_angle() -> None:
    first, second = arc_weights(0.0, 0.5)  # a right angle: 45 degrees from both
    assert first == second == pytest.approx(np.sqrt(0.5))
    assert arc_weights(0.9999, 0.3) == (0.7, 0.3)
    assert arc_weights(None, 0.3) == (0.7, 0.3)


def test_trimming_keeps_one_entry_at_least_and_all_with_density_one() -> None:
    assert [kept_count(0.2, entries) for entries in (1, 2, 4, 10)] == [1, 1, 1, 2]
    start, runs = models(1)
    kept = merge(Ties(Ties.Config(density=1.0)).rule({"r0": 1.0}, 1.0), start, **runs)["w"]
    torch.testing.assert_close(kept, runs["r0"].tensors["w"], atol=1e-6, rtol=0)
    vector = Memory(w=torch.tensor([0.5, -2.0])), {"r": Memory(w=torch.tensor([0.6, -1.0]))}
    small = merge(Ties(Ties.Config(density=0.2)).rule({"r": 1.0}, 1.0), vector[0], **vector[1])["w"]
    assert torch.equal(small, torch.tensor([0.5, -1.0]))  # the larger of two changes


def test_entries_of_zero_agree_with_nothing_and_a_tie_is_positive() -> None:
    deltas = torch.tensor([[[0.0, 1.0, 2.0, 0.0]], [[3.0, -1.0, -3.0, 0.0]]], dtype=torch.float64)
    assert agreeing_mean(deltas, [1.0, 1.0]).tolist() == [[3.0, 1.0, -3.0, 0.0]]
    assert agreeing_mean(deltas, [2.0, 1.0]).tolist() == [[3.0, 1.0, 2.0, 0.0]]


def test_breadcrumbs_drop_both_ends_of_the_magnitudes() -> None:
    change = torch.tensor([[5.0, -1.0, 4.0, 0.5, -3.0, 2.0, 0.1, -10.0, 6.0, 7.0]])
    rule = Breadcrumbs(Breadcrumbs.Config(top=0.1, density=0.6)).rule({"r": 1.0}, 1.0)
    found = merge(rule, Memory(w=torch.zeros(1, 10)), r=Memory(w=change))["w"]
    # ranks by magnitude: 10 | 7 6 5 4 3 2 | 1 0.5 0.1
    assert found.tolist() == [[5.0, 0.0, 4.0, 0.0, -3.0, 2.0, 0.0, 0.0, 6.0, 7.0]]


@pytest.mark.parametrize("recipe", [Dare(Dare.Config(density=0.4)), Della(Della.Config(density=0.4, then="linear"))])
def test_random_dropping_keeps_its_share_and_the_expected_change(recipe: Dare | Della) -> None:
    start = Memory(w=torch.zeros(400, 500))
    runs = {"r": Memory(w=torch.ones(400, 500))}
    found = merge(recipe.rule({"r": 1.0}, 1.0), start, **runs)["w"]
    # 200,000 draws: the standard error of the share is about 0.0011, of the mean below 0.004
    assert (found != 0).double().mean().item() == pytest.approx(0.4, abs=0.006)
    assert found.double().mean().item() == pytest.approx(1.0, abs=0.02)
    if isinstance(recipe, Dare):
        assert set(found.unique().tolist()) == {0.0, 2.5}
    again = merge(recipe.rule({"r": 1.0}, 1.0), start, **runs)["w"]
    assert torch.equal(found, again)


def test_draws_belong_to_a_run_whatever_stands_beside_it() -> None:
    start, runs = models(2)
    rule = Dare(Dare.Config()).rule
    both = merge(rule({"r0": 1.0, "r1": 1.0}, 1.0), start, **runs)["w"] - start.tensors["w"]
    apart = [merge(rule({run: 1.0}, 1.0), start, **{run: runs[run]})["w"] - start.tensors["w"] for run in runs]
    torch.testing.assert_close(both, apart[0] + apart[1], atol=1e-5, rtol=0)


def test_large_changes_of_a_row_are_kept_more_often() -> None:
    found = keep_probabilities(torch.tensor([[[0.1, -9.0, 3.0], [1.0, 0.0, -0.5]]]), 0.5, 0.2)
    torch.testing.assert_close(found, torch.tensor([[[0.3, 0.7, 0.5], [0.7, 0.3, 0.5]]]))
    assert keep_probabilities(torch.ones(2, 5, 1), 0.5, 0.2).unique().tolist() == [0.5]


def test_dropping_beyond_probabilities_is_refused() -> None:
    with pytest.raises(FtbenchError, match="`density` minus and plus `epsilon`"):
        validated(Della.Config, {"density": 0.1, "epsilon": 0.15}, "study.yaml")
    with pytest.raises(FtbenchError, match="`top` and `density`"):
        validated(Breadcrumbs.Config, {"density": 0.999}, "study.yaml")


def test_stock_of_parallel_runs_is_their_mean_and_of_orthogonal_ones_the_start() -> None:
    start = Memory(w=torch.zeros(4))
    same = {"a": Memory(w=torch.tensor([1.0, 2, 0, 0])), "b": Memory(w=torch.tensor([2.0, 4, 0, 0]))}
    torch.testing.assert_close(merge(stock(["a", "b"], False), start, **same)["w"], torch.tensor([1.5, 3, 0, 0]))
    apart = {"a": Memory(w=torch.tensor([1.0, 0, 0, 0])), "b": Memory(w=torch.tensor([0.0, 4, 0, 0]))}
    assert torch.equal(merge(stock(["a", "b"], False), start, **apart)["w"], torch.zeros(4))
    against = torch.tensor([[1.0, -0.5], [-0.5, 1.0]])
    assert ratio(against, clamp=False) == pytest.approx(-2.0)
    assert ratio(against, clamp=True) == 0.0


class Linear(torch.nn.Module):
    """One linear layer that answers like a model of transformers."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.layer.weight.data = weight.clone()

    def forward(self, x: torch.Tensor) -> object:
        return type("Output", (), {"logits": self.layer(x)})()


def rows_of(inputs: torch.Tensor, size: int) -> list[Batch]:
    return [Batch({"x": part}, None, np.arange(len(part))) for part in inputs.split(size)]


def test_the_fisher_information_of_a_linear_softmax_is_the_one_on_paper(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    weight, inputs = torch.randn(3, 4, generator=generator), torch.randn(6, 4, generator=generator)
    file = tmp_path / "information.safetensors"
    found = fisher_diagonal(Linear(weight), rows_of(inputs, 1), "classification", file)["layer.weight"]
    chances = (inputs @ weight.T).softmax(1)
    # d log p_c / d W[a, b] = (1[a = c] - p_a) x_b, so F[a, b] = mean_x p_a (1 - p_a) x_b^2
    expected = torch.einsum("na,nb->ab", chances * (1 - chances), inputs**2) / len(inputs)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(load_file(file), {"layer.weight": found}, atol=0, rtol=0)
    squared = fisher_diagonal(Linear(weight[:1]), rows_of(inputs, 1), "regression", file)["layer.weight"]
    torch.testing.assert_close(squared, (inputs**2).mean(0, keepdim=True), atol=1e-6, rtol=1e-5)


def test_products_of_inputs_are_those_of_all_rows_however_they_are_batched(tmp_path: Path) -> None:
    inputs = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    for size in (1, 3, 10):
        file = tmp_path / f"{size}.safetensors"
        found = input_grams(Linear(torch.zeros(2, 4)), rows_of(inputs, size), file)["layer.weight"]
        torch.testing.assert_close(found, inputs.T @ inputs / 10)
        torch.testing.assert_close(load_file(file), {"layer.weight": found}, atol=0, rtol=0)


@pytest.mark.parametrize("transposed", [False, True])
def test_regmean_is_least_squares_on_the_pooled_inputs(transposed: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    inputs = [
        torch.randn(50, 5, generator=generator).double() @ torch.randn(5, 5, generator=generator).double()
        for _ in range(3)
    ]
    weights = [torch.randn(5, 2, generator=generator).double() for _ in range(3)]
    pooled = np.concatenate([x.numpy() for x in inputs])
    answers = np.concatenate([(x @ w).numpy() for x, w in zip(inputs, weights, strict=True)])
    expected, *_ = np.linalg.lstsq(pooled, answers, rcond=None)
    stored = [weight if transposed else weight.T.contiguous() for weight in weights]
    grams = [x.T @ x / len(x) for x in inputs]
    found = solved(stored, grams, 1.0, transposed)
    np.testing.assert_allclose(found.numpy() if transposed else found.T.numpy(), expected, atol=1e-6)


def test_regmean_without_off_diagonals_weighs_each_input_by_its_square() -> None:
    weights = [torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 8.0]])]
    grams = [torch.tensor([[1.0, 5.0], [5.0, 0.0]]), torch.tensor([[3.0, 5.0], [5.0, 0.0]])]
    found = solved(weights, grams, 0.0, False)
    # first input: (1*1 + 3*3)/4; the second is always zero, so the mean of its weights stays
    torch.testing.assert_close(found, torch.tensor([[2.5, 4.0]]).double(), atol=1e-6, rtol=0)


def test_decisions_compare_without_their_rules() -> None:
    assert Decision({"a": 1.0}, rule=lambda parts: parts.initial()) == Decision({"a": 1.0})
