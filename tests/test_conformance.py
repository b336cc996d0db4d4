"""What every method must do, whatever it is; run on each plug-in that is found, those of other packages too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from placing import PLACE, fresh_accelerate
from prior_rows import tiny_prior

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import validated
from ftbench.config.study import Training
from ftbench.methods.base import Context, Method, PriorFacts
from ftbench.outputs import Stopped
from ftbench.plugins import plugins
from ftbench.training.batches import EpochBatches
from ftbench.training.checkpoint import Checkpoints
from ftbench.training.examples import Encoded, Examples, encode
from ftbench.training.job import Job, Outcome
from ftbench.training.loop import train
from ftbench.training.processes import Processes
from ftbench.training.weights import plain_state

METHODS = sorted(plugins("methods"))
STEPS = 12
# where the defaults are made for longer runs or larger models than these
SETTINGS: dict[str, dict[str, Any]] = {
    "dps_dense": {"update_ratio": 0.2},
    "dps_mix": {"update_ratio": 0.2},
    "lt_sft": {"share": 0.05},
    "sift": {"share": 0.05},
    "top_k_layers": {"layers": 1},
}

# nothing of their own to choose: the row weights of one are medians, one is a control, one is experimental, and one
# inherits what rehearsal searches
WITHOUT_GRID = {"flow", "from_scratch", "dba", "der"}


def tiny_model() -> torch.nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, num_labels=3, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
    )  # fmt: skip
    return BertForSequenceClassification(config)


class NumberedWords:
    """A tokenizer of texts whose words are their token numbers; all other words are token 1."""

    pad_token_id, unk_token = 0, "1"

    def __call__(self, texts: list[str], pairs: list[str] | None, **options: Any) -> dict[str, list[list[int]]]:
        assert pairs is None
        known = {str(number): number for number in range(60)}
        ids = [[known.get(word, 1) for word in text.split()] for text in texts]
        return {"input_ids": ids, "token_type_ids": [[0] * len(row) for row in ids]}


def tiny_rows(rows: int = 40) -> Examples:
    generator = np.random.default_rng(5)
    lengths = generator.integers(4, 12, rows)
    targets = generator.integers(0, 3, rows)
    # the first token tells the label, so that there is something to learn
    texts = [
        " ".join(map(str, [10 + target, *generator.integers(20, 60, length - 1)]))
        for target, length in zip(targets, lengths, strict=True)
    ]
    return Examples([f"row{number}" for number in range(rows)], texts, None, targets)


def tiny_data(rows: Examples | None = None) -> Encoded:
    return encode(NumberedWords(), rows or tiny_rows(), 12)


def settings(**changes: Any) -> Training:
    given = {"steps": STEPS, "batch_size": 8, "learning_rate": 1e-3, "evaluations": 0, "precision": "fp32"}
    return Training(**{**given, **changes})


def prepared(
    name: str,
    training: Training,
    checkpoints: Path | None = None,
    processes: Processes | None = None,
    model: torch.nn.Module | None = None,
    place: torch.device = PLACE,
) -> tuple[Job, Method]:
    """A job on the tiny model, or another one, with one method; saves after every step where a folder is given."""
    torch.set_num_threads(1)
    factory = plugins("methods")[name].factory
    method: Method = factory(factory.Config(**SETTINGS.get(name, {})))
    context = Context(
        model=(model or tiny_model()).to(place), training=training, kind="classification", seed=1,
        tokenizer=NumberedWords(),
    )  # fmt: skip
    if factory.wants_prior(method.config):
        context.prior = tiny_prior(context.model)
    rows = method.examples(tiny_rows(), context)
    method.prepare_model(context)
    context.model = context.model.to(place)
    if method.needs_initial:
        context.initial = {key: value.clone().to(place) for key, value in plain_state(context.model).items()}
    data = tiny_data(rows)
    processes = processes or Processes()
    batches = EpochBatches(data, training.batch_size, training.accumulation, training.grouping, 1, place, processes)

    def evaluate(model: torch.nn.Module) -> float:
        from ftbench.training.inference import logits

        return float((logits(model, data, place).argmax(1) == data.targets).mean())

    stored = Checkpoints(checkpoints) if checkpoints else None
    return Job(
        context,
        [method],
        batches,
        STEPS,
        evaluate,
        stored,
        checkpoint_seconds=0.0,
        say=lambda _: None,
        processes=processes,
    ), method


def run(name: str, training: Training | None = None) -> Outcome:
    return train(prepared(name, training or settings())[0])


def assert_equal_weights(first: Outcome, second: Outcome) -> None:
    assert first.weights is not None
    assert second.weights is not None
    assert first.weights.keys() == second.weights.keys()
    for key, tensor in first.weights.items():
        assert torch.equal(tensor, second.weights[key]), key


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is(name: str) -> None:
    factory = plugins("methods")[name].factory
    assert factory.summary
    assert factory.paper
    assert factory.formula
    assert factory.cost.forward >= 0


@pytest.mark.parametrize("name", METHODS)
def test_the_grid_to_search_holds_settings_that_the_method_takes(name: str) -> None:
    """Every method has one, if only of the training's settings."""
    factory = plugins("methods")[name].factory
    for key, values in factory.search.items():
        head, _, rest = key.partition(".")
        assert head in ("settings", "training")
        assert len(set(values)) > 1, key
        for value in values:
            validated(factory.Config if head == "settings" else Training, {rest: value}, "grid", key)
    assert factory.search or name in WITHOUT_GRID


@pytest.mark.parametrize("name", METHODS)
def test_training_gives_finite_losses_and_moves_weights(name: str) -> None:
    outcome = run(name)
    start = plain_state(prepared(name, settings())[0].context.model)
    assert len(outcome.log) == STEPS
    assert all(np.isfinite(row["loss"]) for row in outcome.log)
    assert outcome.weights is not None
    moved = (key not in start or not torch.equal(tensor, start[key]) for key, tensor in outcome.weights.items())
    assert any(moved)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    assert_equal_weights(run(name), run(name))


@pytest.mark.parametrize("name", METHODS)
def test_exported_weights_give_the_trained_model_again(name: str, tmp_path: Path) -> None:
    """All weights load into the plain model; an adapter and its base make a model of the same predictions."""
    from ftbench.training.artifact import Artifact, saved_form
    from ftbench.training.inference import logits
    from ftbench.training.weights import save_weights

    job, method = prepared(name, settings())
    outcome = train(job)
    assert outcome.weights is not None
    if method.saves == "model":
        missing = tiny_model().load_state_dict(outcome.weights, strict=False)
        assert not missing.unexpected_keys
        assert not missing.missing_keys
        return
    save_weights(outcome.weights, tmp_path / "model.safetensors", saved_form([method]))
    tiny_model().save_pretrained(tmp_path / "snapshot")
    plugs = ((name, method.config.model_dump(mode="json")),)
    again = Artifact(tmp_path / "snapshot", tmp_path / "model.safetensors", plugs)
    assert again.form == method.saves
    names, data = [str(number) for number in range(3)], tiny_data()
    found = logits(again.model(names, "classification").to(PLACE), data, PLACE)
    assert np.array_equal(found, logits(job.context.model, data, PLACE))


@pytest.mark.parametrize(("keep", "stops"), [("last", [7]), ("best", [1, 11])])
@pytest.mark.parametrize("name", METHODS)
def test_a_stopped_run_resumes_to_the_same_weights(name: str, keep: str, stops: list[int], tmp_path: Path) -> None:
    training = settings(keep=keep, evaluations=4)
    undisturbed = run(name, training)
    for stop in stops:
        folder = tmp_path / f"stop{stop}"
        job, method = prepared(name, training, folder)
        _stop_after(method, stop)
        with pytest.raises(Stopped):
            train(job)
        resumed = train(prepared(name, training, folder)[0])
        assert_equal_weights(undisturbed, resumed)
        assert [row["loss"] for row in resumed.log] == [row["loss"] for row in undisturbed.log]
        assert (resumed.best_step, resumed.best_score) == (undisturbed.best_step, undisturbed.best_score)


def _stop_after(method: Method, step: int) -> None:
    """Send this process the scheduler's warning while the given step runs."""
    import os
    import signal

    after: Callable[[Context], None] = method.after_step
    taken: list[int] = []  # over all phases

    def warned(context: Context) -> None:
        after(context)
        taken.append(context.step)
        if len(taken) == step:
            os.kill(os.getpid(), signal.SIGTERM)

    method.after_step = warned  # type: ignore[method-assign]


@pytest.mark.parametrize("name", [name for name in METHODS if not plugins("methods")[name].factory.draws_noise])
def test_accumulation_changes_memory_and_not_the_result(name: str) -> None:
    """With dropout off, four micro-batches give the step of one batch up to rounding."""
    outcomes = []
    for accumulation in (1, 4):
        job, _ = prepared(name, settings(accumulation=accumulation, steps=STEPS))
        for module in job.context.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        outcomes.append(train(job))
    losses = [[row["loss"] for row in outcome.log] for outcome in outcomes]
    assert np.allclose(losses[0], losses[1], atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_an_unknown_setting_is_refused_with_its_key(name: str) -> None:
    factory = plugins("methods")[name].factory
    with pytest.raises(FtbenchError, match=r"settings\.learnin_rate"):
        validated(factory.Config, {"learnin_rate": 1}, "study.yaml", "settings")


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_asks_of_a_study_can_be_told_before_a_run(name: str) -> None:
    """The answers are words and truths at the settings that train here, and the model that trains is not refused."""
    factory = plugins("methods")[name].factory
    config = factory.Config(**SETTINGS.get(name, {}))
    assert factory.check_steps(config, STEPS, 5) == []
    wanted = factory.wants_prior(config)
    assert isinstance(wanted, bool)
    assert isinstance(factory.wants_prior_labels(config), bool)
    if wanted:
        prior = PriorFacts(kind="classification", rows=100, clusters=True, aux=("length", "label"))
        assert factory.check_prior(config, prior, settings()) == []
    with torch.device("meta"):
        factory(config).refuse_model(tiny_model())


@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_in_bf16(name: str) -> None:
    with fresh_accelerate():
        outcome = run(name, settings(precision="bf16"))
    assert outcome.precision == "bf16"
    assert all(np.isfinite(row["loss"]) for row in outcome.log)


def first_logits(name: str) -> torch.Tensor:
    """What the first pass of the first step gives."""
    job, _ = prepared(name, settings())
    found: list[torch.Tensor] = []

    def remember(*given: Any) -> None:
        if job.context.step:  # not the passes of a prologue
            found.append(given[2].logits.detach().clone())

    job.context.model.register_forward_hook(remember)
    train(job)
    return found[0]


@pytest.mark.parametrize("name", [name for name in METHODS if not plugins("methods")[name].factory.alters_forward])
def test_a_method_does_not_shift_the_order_or_the_dropout_of_others(name: str) -> None:
    """The first pass depends on head, order and dropout alone: it is the same for every method that leaves it be."""
    assert torch.allclose(first_logits(name), first_logits("vanilla"), atol=1e-6)
