"""FLOW by token: weights of label words under a masked language model, against scalar formulas."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prior_rows import snapshot
from test_conformance import prepared, settings

from ftbench.config.errors import FtbenchError
from ftbench.config.study import Training
from ftbench.methods.flow import Flow
from ftbench.training.batches import Batch
from ftbench.training.examples import Examples
from ftbench.training.flow_weights import row_factors, temperature
from ftbench.training.models import language_model, load_tokenizer
from ftbench.training.verbaliser import guessing_loss, verbaliser_losses

TOKENS = torch.from_numpy(np.random.default_rng(3).gamma(1.0, 1.0, (101, 3)))
WORDS = {"bad": "w30 w33", "good": "w31 w34", "odd": "w31 w35"}
ROWS = Examples(list("xyz"), ["w1 w2 w3", "w4", "w5 w6"], None, np.array([2, 0, 1]))


@pytest.fixture
def job(tmp_path: Path) -> Any:
    """A run of the method beside a language model of eight units, its rows given to it."""
    found, method = prepared("flow", settings(steps=2))
    context = found.context
    context.model.config.id2label = {0: "bad", 1: "good", 2: "odd"}
    context.tokenizer = load_tokenizer(snapshot(tmp_path))
    sharp = language_model(tmp_path, "masked")
    with torch.no_grad():  # away from chance, as a trained head is
        for parameter in sharp.parameters():
            parameter *= 6
    sharp.save_pretrained(tmp_path)
    context.language_model = lambda kind: language_model(tmp_path, kind)
    method.examples(ROWS, context)
    return context, method


def weighed(job: Any, **config: Any) -> Flow:
    context, method = job
    method.config, method.weights = Flow.Config(head="verbaliser", template="{text_a} is {mask}", **config), None
    method.prologue(context)
    assert isinstance(method, Flow)
    return method


def losses_by_hand(context: Any, words: dict[str, str]) -> list[list[float]]:
    """-log p of each token, one row and one logit at a time."""
    tokenizer, model = context.tokenizer, context.language_model("masked").eval()
    names, found = ["bad", "good", "odd"], []
    for text, target in zip(ROWS.text_a, ROWS.targets, strict=True):
        gaps = len(words["bad"].split())
        encoded = tokenizer(f"{text} is" + " [MASK]" * gaps, return_tensors="pt")
        logits = model(**encoded).logits[0].tolist()[-gaps:]
        row = []
        for place, scores in enumerate(logits):
            own = [tokenizer.convert_tokens_to_ids(words[name].split()[place]) for name in names]
            total = sum(math.exp(scores[token]) for token in set(own))
            row.append(math.log(total) - scores[own[target]])
        found.append(row)
    return found


def test_losses_of_tokens_are_those_of_one_row_at_a_time(job: Any) -> None:
    context, _ = job
    found = verbaliser_losses(context, ROWS, "{text_a} is {mask}", WORDS)
    assert found.shape == (3, 2)
    for row, expected in zip(found.tolist(), losses_by_hand(context, WORDS), strict=True):
        assert row == pytest.approx(expected, abs=1e-5)
    assert guessing_loss(context, WORDS) == pytest.approx((math.log(2) + math.log(3)) / 2)


@pytest.mark.parametrize("normalize", ["none", "mean1"])
@pytest.mark.parametrize("level", ["sequence", "token"])
def test_a_row_weighs_by_its_mean_loss_or_by_the_mean_weight_of_its_tokens(
    job: Any, level: str, normalize: str
) -> None:
    losses = losses_by_hand(job[0], WORDS)
    method = weighed(job, level=level, normalize=normalize, words=WORDS)
    if level == "sequence":
        values = [sum(row) / 2 for row in losses]
        tau = statistics.median(values)
        weights = [math.exp(-value / tau) for value in values]
    else:
        tau = statistics.median(value for row in losses for value in row)
        weights = [sum(math.exp(-value / tau) for value in row) / 2 for row in losses]
    if normalize == "mean1":
        weights = [3 * weight / sum(weights) for weight in weights]
    assert method.tau == pytest.approx(tau, abs=1e-5)
    assert method.weights is not None
    assert method.weights.tolist() == pytest.approx(weights, abs=1e-4)
    # the objective: every token of a row has the row's loss, and their number is not weighted
    logits = torch.tensor([[0.2, -1.0, 0.5], [1.0, 0.0, 0.3], [0.1, 0.4, -0.7]])
    rows = [-math.log(math.exp(z[t]) / sum(map(math.exp, z))) for z, t in zip(logits.tolist(), [2, 0, 1], strict=True)]
    batch = Batch({}, torch.tensor([2, 0, 1]), np.arange(3))
    expected = sum(weight * loss for weight, loss in zip(weights, rows, strict=True)) / 3
    assert float(method.criterion(logits, batch, job[0])) == pytest.approx(expected, abs=1e-4)


def test_words_of_one_token_weigh_the_same_at_both_levels(job: Any) -> None:
    words = {"bad": "w30", "good": "w31", "odd": "w32"}
    found = [weighed(job, level=level, words=words).weights for level in ("sequence", "token")]
    assert found[0] is not None
    assert found[1] is not None
    assert torch.equal(found[0], found[1])


@pytest.mark.parametrize("normalize", ["none", "mean1"])
@pytest.mark.parametrize("losses", [TOKENS, TOKENS.mean(dim=1)], ids=["token", "sequence"])
def test_weights_do_not_change_with_the_scale_of_all_losses(losses: torch.Tensor, normalize: str) -> None:
    found = row_factors(losses, temperature(losses), normalize)
    assert found.shape == (101,)
    for scale in (1e-3, 7.0, 1e4):
        scaled = row_factors(scale * losses, temperature(scale * losses), normalize)
        assert torch.allclose(scaled, found, atol=1e-12)
    assert (float(found.mean()) == pytest.approx(1)) == (normalize == "mean1")


def test_the_median_token_weighs_one_over_e() -> None:
    alone = row_factors(TOKENS.reshape(-1, 1), temperature(TOKENS), "none")  # each token a row of its own
    assert float(alone.median()) == pytest.approx(math.exp(-1))
    assert torch.allclose(alone.reshape(101, 3).mean(dim=1), row_factors(TOKENS, temperature(TOKENS), "none"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({**WORDS, "odd": "w32"}, "would tell the label"),
        ({"bad": "w1 w2", "good": "w1 w3", "odd": "w1 w4"}, "same token for every label at place 1"),
        ({**WORDS, "odd": "w31 unheard"}, "no token that the model knows"),
        ({**WORDS, "odd": "w31 w34"}, "same word for two labels"),
    ],
)
def test_label_words_that_cannot_judge_are_refused(job: Any, words: dict[str, str], reason: str) -> None:
    with pytest.raises(FtbenchError, match=reason):
        weighed(job, level="token", words=words)


def test_a_language_model_at_chance_is_refused(job: Any, tmp_path: Path) -> None:
    flat = language_model(tmp_path, "masked")
    with torch.no_grad():
        for parameter in flat.parameters():
            parameter *= 1e-3
    job[0].language_model = lambda _: flat
    with pytest.raises(FtbenchError, match=r"which is the 0\.896 of guessing"):
        weighed(job, level="token", words=WORDS)


def test_a_tokenizer_without_a_mask_is_refused(job: Any) -> None:
    job[0].tokenizer.mask_token = None
    with pytest.raises(FtbenchError, match="has no mask token"):
        weighed(job, level="token", words=WORDS)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"level": "token"}, "`level: token` with `head: linear_probe`, under which a text has one loss"),
        ({"level": "token", "head": "prior"}, "`level: token` with `head: prior`"),
        ({"head": "verbaliser", "level": "token"}, "without a word for each label"),
        ({"head": "verbaliser", "words": WORDS, "template": "{text_a}"}, "with 0 {mask} in `template`"),
        ({"head": "verbaliser", "words": WORDS, "template": "{text} {mask}"}, "`template` with {text}"),
        ({"head": "verbaliser", "words": WORDS, "template": "so {mask}"}, "without {text_a}"),
        ({"head": "verbaliser", "words": WORDS, "template": "{text_a {mask}"}, "cannot be read"),
    ],
)
def test_settings_that_mean_nothing_are_refused_before_anything_runs(config: dict[str, Any], reason: str) -> None:
    found = Flow.check(Flow.Config(**config), Training(), "classification", [])
    assert any(reason in line for line in found), found
    assert not Flow.check(Flow.Config(head="verbaliser", level="token", words=WORDS), Training(), "classification", [])
