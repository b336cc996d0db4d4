"""FLOW and EWC against reference numbers, closed formulas and scikit-learn."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import FOLDER, Recorder, ToyBatches, case, needs_golden, toy_model, toy_training
from prior_rows import snapshot, tiny_prior
from test_conformance import prepared, settings

from ftbench.config.errors import FtbenchError
from ftbench.methods.ewc import Ewc, fisher_information
from ftbench.methods.flow import Flow
from ftbench.training.batches import Batch
from ftbench.training.flow_weights import (
    easy_weights,
    prior_head_losses,
    probe_losses,
    refuse_untrained,
    sequence_losses,
    temperature,
    token_losses,
)
from ftbench.training.job import Job
from ftbench.training.layers import is_encoder
from ftbench.training.loop import train
from ftbench.training.method import Context

LOSSES = torch.from_numpy(np.random.default_rng(0).gamma(1.0, 1.0, 501))


@needs_golden
def test_sequence_and_token_weights_equal_the_published_ones() -> None:
    stored = case("flow_weights")
    logits, labels = stored.inputs["logits"], stored.inputs["labels"].long()
    found, tokens = sequence_losses(logits, labels), token_losses(logits, labels)
    tau = temperature(found)
    assert tau == pytest.approx(stored.content["hyper"]["tau"], abs=1e-6)
    for name, value in (
        ("sequence_loss", found),
        ("sequence_weight", easy_weights(found, tau)),
        ("token_weight", easy_weights(tokens, tau)),
    ):
        assert torch.allclose(value.double(), stored.expected[name].double(), atol=1e-6), name
    example = stored.content["values"]["scalar_example"]
    losses = torch.tensor(example["losses"])
    assert temperature(losses) == pytest.approx(example["tau"])
    assert easy_weights(losses, example["tau"]).tolist() == pytest.approx(example["weights"], abs=1e-6)


@needs_golden
def test_training_with_the_weights_equals_the_published_training_step_by_step() -> None:
    stored = case("flow_training")
    hyper = stored.content["hyper"]
    steps = hyper["T"]

    class Numbered(ToyBatches):
        """The stored batches with row numbers that run through all of them."""

        def step(self, number: int) -> list[Batch]:
            (batch,) = super().step(number)
            return [Batch(batch.inputs, batch.targets, np.arange(8 * (number - 1), 8 * number))]

        def epoch(self) -> list[Batch]:
            return [self.step(number)[0] for number in range(1, steps + 1)]

    class Stored(Flow):
        """The head that the reference was given."""

        def losses(self, context: Context) -> torch.Tensor:
            judge = toy_model().eval()
            judge.load_state_dict({**judge.state_dict(), **{
                name.removeprefix("probe/"): tensor for name, tensor in stored.inputs.items()
            }})  # fmt: skip
            assert context.batches is not None
            with torch.no_grad():
                found = [
                    torch.nn.functional.cross_entropy(judge(**b.inputs).logits, b.targets, reduction="none")
                    for b in context.batches()
                ]
            return torch.cat(found)

    torch.set_num_threads(1)
    method, recorder = Stored(Stored.Config()), Recorder()
    training = toy_training(
        steps=steps, learning_rate=hyper["lr"], warmup_share=0.0, schedule="constant", clip_norm=None
    )
    context = Context(model=toy_model(), training=training, kind="classification", seed=0)
    train(Job(context, [method, recorder], Numbered(), steps))
    assert method.tau == pytest.approx(hyper["tau"], abs=1e-5)
    assert method.weights is not None
    assert torch.allclose(method.weights, stored.expected["weight"].double(), atol=1e-5)
    # the case keeps weights alone; its rule for them is that of the other cases
    ignored = json.loads((FOLDER / "toy" / "toy.json").read_text())["ill_conditioned"]["tensors"]
    named = [(*key.split("/"), tensor) for key, tensor in stored.expected.items() if key.startswith("step_")]
    difference = torch.cat(
        [(recorder.weights[int(step[5:])][n] - t).abs().flatten() for step, n, t in named if n not in ignored]
    )
    assert (difference <= 2e-6).float().mean() >= 0.999
    assert difference.max() <= 1e-4


def test_the_median_row_weighs_one_over_e_whatever_the_scale() -> None:
    weights = easy_weights(LOSSES, temperature(LOSSES))
    assert float(weights.median()) == pytest.approx(math.exp(-1))
    for scale in (1e-3, 7.0, 1e4):
        scaled = easy_weights(scale * LOSSES, temperature(scale * LOSSES))
        assert torch.allclose(scaled, weights, atol=1e-12)


def test_losses_of_which_most_are_zero_give_a_warning_and_finite_weights() -> None:
    losses = torch.tensor([0.0, 0.0, 0.0, 1.0])
    with pytest.warns(UserWarning, match="more than half of the losses are 0"):
        tau = temperature(losses)
    assert easy_weights(losses, tau).tolist() == [1.0, 1.0, 1.0, 0.0]


def test_the_probe_is_the_logistic_regression_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    draw = np.random.default_rng(1)
    features, targets = draw.normal(size=(80, 6)), draw.integers(0, 3, 80)
    features[:, 0] += targets
    scaled = StandardScaler().fit_transform(features)
    reference = LogisticRegression(C=1.0, max_iter=5000, tol=1e-10).fit(scaled, targets)
    expected = -reference.predict_log_proba(scaled)[np.arange(80), targets]
    found = probe_losses(torch.from_numpy(features), torch.from_numpy(targets))
    assert found.numpy() == pytest.approx(expected, abs=1e-4)


def flow_job(**config: Any) -> tuple[Job, Flow]:
    job, method = prepared("flow", settings(steps=2))
    job.total_steps = 2
    method.config = Flow.Config(**config)
    assert isinstance(method, Flow)
    return job, method


def test_weights_with_mean_one_only_scale_the_others() -> None:
    found = []
    for normalize in ("none", "mean1"):
        job, method = flow_job(normalize=normalize)
        train(job)
        assert method.weights is not None
        found.append(method.weights)
    assert float(found[1].mean()) == pytest.approx(1)
    assert torch.allclose(found[0] / found[0].mean(), found[1])


def test_an_untrained_head_is_refused_with_the_reason() -> None:
    job, method = flow_job()
    job.context.prior = tiny_prior(job.context.model)
    context = job.context
    context.batches = job.batches.epoch
    losses = prior_head_losses(context)  # the head of a fresh classifier
    with pytest.raises(FtbenchError, match="the head knows nothing, all rows would weigh 1/e"):
        refuse_untrained(losses, math.log(3))
    method.config = Flow.Config(head="prior")
    with pytest.raises(FtbenchError, match="linear_probe"):
        train(job)


def test_the_prior_head_judges_rows_as_the_model_before_would() -> None:
    job, method = flow_job(head="prior")
    for parameter in job.context.model.classifier.parameters():
        parameter.data *= 50
    job.context.prior = tiny_prior(job.context.model)
    job.context.model.eval()
    expected = {}
    for batch in job.batches.epoch():
        logits = job.context.model(**batch.inputs).logits
        losses = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none")
        expected.update(zip(batch.rows.tolist(), losses.tolist(), strict=True))
    train(job)
    assert method.weights is not None
    values = torch.tensor([expected[row] for row in range(40)], dtype=torch.float64)
    assert torch.allclose(method.weights, easy_weights(values, temperature(values)), atol=1e-4)
    job.context.prior = tiny_prior(job.context.model, same_labels=False)
    with pytest.raises(FtbenchError, match="other labels"):
        prior_head_losses(job.context)


def test_the_verbaliser_reads_the_label_words_at_the_gap(tmp_path: Path) -> None:
    from ftbench.training.examples import Examples
    from ftbench.training.models import language_model, load_tokenizer
    from ftbench.training.verbaliser import verbaliser_losses

    tokenizer = load_tokenizer(snapshot(tmp_path))
    job, _ = flow_job()
    context = job.context
    context.model.config.id2label = {0: "bad", 1: "good", 2: "odd"}
    context.tokenizer, context.language_model = tokenizer, lambda kind: language_model(tmp_path, kind)
    rows = Examples(["x", "y"], ["w1 w2 w3", "w4"], None, np.array([2, 0]))
    words = {"good": "w30", "bad": "w31", "odd": "w32"}
    found = verbaliser_losses(context, rows, "{text_a} is {mask}", words)
    model = language_model(tmp_path, "masked").eval()
    for text, target, loss in zip(rows.text_a, (2, 0), found, strict=True):
        inputs = tokenizer(f"{text} is [MASK]", return_tensors="pt")
        last = model(**inputs).logits[0, -1, tokenizer.convert_tokens_to_ids(["w31", "w30", "w32"])]
        assert float(loss) == pytest.approx(-float(last.log_softmax(0)[target].detach()), abs=1e-5)
    for wrong, reason in (({**words, "odd": "w31"}, "same word"), ({"good": "w1"}, "one for each"),
                          ({**words, "odd": "unheard"}, "no token that the model knows")):  # fmt: skip
        with pytest.raises(FtbenchError, match=reason):
            verbaliser_losses(context, rows, "{text_a} is {mask}", wrong)


def test_a_model_without_a_language_head_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    from ftbench.training.models import language_model

    BertModel(BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                         intermediate_size=8)).save_pretrained(tmp_path)  # fmt: skip
    with pytest.raises(FtbenchError, match="no trained head for a masked language model"):
        language_model(tmp_path, "masked")


# EWC


@pytest.mark.parametrize("labels", ["data", "model"])
def test_the_fisher_information_is_the_mean_of_squared_row_gradients(labels: Any) -> None:
    job, _ = prepared("ewc", settings())
    context = job.context
    prior = tiny_prior(context.model, rows=7)
    context.prior = prior
    found = fisher_information(context, 100, labels)
    model = context.model.eval()
    exact: dict[str, torch.Tensor] = {}
    for row in range(7):
        batch = prior.batch(np.array([row]), "cpu")
        logits = model(**batch.inputs).logits
        # `model` draws labels; its expectation sums over them
        shares = logits[0].detach().softmax(0) if labels == "model" else torch.eye(3)[batch.targets[0]]
        for label in range(3):
            model.zero_grad()
            logits[0].log_softmax(0)[label].backward(retain_graph=True)
            for name, parameter in model.named_parameters():
                if is_encoder(name, model) and parameter.grad is not None:
                    part = shares[label] * parameter.grad.square() / 7
                    exact[name] = exact.get(name, torch.zeros_like(part)) + part
    assert not any(name.startswith("classifier") or "pooler" in name for name in found)
    if labels == "data":
        for name, tensor in exact.items():
            assert torch.allclose(found[name], tensor, rtol=1e-3, atol=1e-10), name
    else:
        total = sum(float(tensor.sum()) for tensor in found.values())
        assert total == pytest.approx(sum(float(tensor.sum()) for tensor in exact.values()), rel=1.5)
        assert total > 0


def test_the_penalty_is_half_lambda_fisher_times_the_squared_change() -> None:
    job, method = prepared("ewc", settings())
    assert isinstance(method, Ewc)
    context = job.context
    method.prologue(context)
    plain = torch.tensor(1.5)
    assert float(method.loss(plain, plain, None, context).detach()) == pytest.approx(1.5)  # type: ignore[arg-type]
    expected = 0.0
    with torch.no_grad():
        for name, parameter in context.model.named_parameters():
            parameter += 0.01
            if name in method.fisher:
                expected += 50 * float((method.fisher[name] * 1e-4).sum())
    assert expected > 0
    assert float(method.loss(plain, plain, None, context).detach()) == pytest.approx(1.5 + expected, rel=1e-3)  # type: ignore[arg-type]


def test_a_strong_penalty_keeps_the_encoder_nearer_to_where_it_was() -> None:
    moved = []
    for strength in (0.0, 1e6):
        job, method = prepared("ewc", settings(learning_rate=3e-3))
        method.config = Ewc.Config(strength=strength, rows=40)
        outcome = train(job)
        assert outcome.weights is not None
        start = job.context.initial
        moved.append(sum(float((outcome.weights[k] - start[k]).square().sum()) for k in method.fisher))  # type: ignore[attr-defined]
    assert moved[1] < 0.8 * moved[0]


def test_nothing_of_the_encoder_is_left_from_scratch() -> None:
    from ftbench.training.weights import plain_state

    before = plain_state(prepared("vanilla", settings())[0].context.model)
    after = plain_state(prepared("from_scratch", settings())[0].context.model)
    again = plain_state(prepared("from_scratch", settings())[0].context.model)
    model = prepared("vanilla", settings())[0].context.model
    for name, tensor in after.items():
        assert torch.equal(tensor, again[name])
        drawn = is_encoder(name, model) and float(tensor.std()) > 0
        assert torch.equal(tensor, before[name]) != drawn, name
