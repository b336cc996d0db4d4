"""What every adapter promises, on every family of models: start, frozen weights, sizes, merging, saved form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adapted import LABELS, adapted, method, predicted, stored, trainable, trained
from model_families import FAMILIES, family_model

from ftbench.config.errors import FtbenchError
from ftbench.plugins import plugins
from ftbench.training.adapter_method import added_names, altered_since, checksums, plain_name
from ftbench.training.layers import is_encoder
from ftbench.training.weights import plain_state

ADAPTERS = sorted(name for name, found in plugins("methods").items() if found.factory.saves == "adapter")
NEUTRAL = [name for name in ADAPTERS if not plugins("methods")[name].factory.alters_forward]
MERGEABLE = [name for name in ADAPTERS if not plugins("methods")[name].factory.unmergeable]


def applies(name: str, family: str) -> bool:
    return not (name in ("prefix_tuning", "mam") and family.startswith("deberta"))  # refused, with the reason


CELLS = [(name, family) for name in ADAPTERS for family in FAMILIES if applies(name, family)]


def test_there_are_adapters_to_test() -> None:
    assert {"lora", "dora", "ia3", "houlsby_adapter", "pfeiffer_adapter", "parallel_adapter"} <= set(ADAPTERS)
    assert {"lora", "dora", "ia3"} <= set(MERGEABLE)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NEUTRAL)
def test_the_first_pass_is_that_of_the_base_model(name: str, family: str) -> None:
    np.testing.assert_allclose(predicted(adapted(family, name)[0].model), predicted(family_model(family)), atol=1e-6)


@pytest.mark.parametrize(("name", "family"), CELLS)
def test_pretrained_weights_stay_bit_for_bit_and_what_is_saved_gives_the_same_predictions(
    name: str, family: str, tmp_path: Path
) -> None:
    context, adapter = adapted(family, name)
    outcome = trained(context, adapter)
    base = plain_state(family_model(family))
    moved = 0
    for key, tensor in plain_state(context.model).items():
        if plain_name(key) in base and is_encoder(key, context.model):
            assert torch.equal(tensor, base[plain_name(key)]), key
            assert outcome.weights is not None
            assert key not in outcome.weights
        elif plain_name(key) in base:
            moved += not torch.equal(tensor, base[key])
    assert moved or name == "levi"  # the head has learnt; levi answers by one of its own
    artifact = stored(family, tmp_path, outcome, adapter)
    np.testing.assert_array_equal(predicted(artifact.model(LABELS, "classification", 0)), predicted(context.model))
    assert not np.allclose(predicted(context.model), predicted(family_model(family)), atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", MERGEABLE)
def test_merged_weights_predict_what_the_adapter_does(name: str, family: str, tmp_path: Path) -> None:
    context, adapter = adapted(family, name)
    artifact = stored(family, tmp_path, trained(context, adapter), adapter)
    unmerged = predicted(context.model)
    plain = artifact.plain_weights(LABELS, "classification", 0)
    model = family_model(family, seed=99)
    loaded = model.load_state_dict(plain, strict=False)
    assert not loaded.unexpected_keys
    assert set(plain) == set(plain_state(family_model(family)))
    np.testing.assert_allclose(predicted(model), unmerged, atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(ADAPTERS) - set(MERGEABLE)))
def test_an_adapter_that_cannot_be_merged_says_why(name: str, tmp_path: Path) -> None:
    context, adapter = adapted("bert", name)
    artifact = stored("bert", tmp_path, trained(context, adapter), adapter)
    with pytest.raises(FtbenchError, match=f"{name} cannot be turned into plain weights: .{{20,}}"):
        artifact.plain_weights(LABELS, "classification", 0)


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_on_the_encoder_leaves_the_head_of_another_task_alone(name: str, tmp_path: Path) -> None:
    """Forgetting is measured so: the run's encoder under pooler and classifier of the prior task."""
    context, adapter = adapted("bert", name)
    outcome = trained(context, adapter)
    artifact = stored("bert", tmp_path, outcome, adapter)
    prior = family_model("bert", labels=5)
    head = {key: value.clone() for key, value in plain_state(prior).items() if not is_encoder(key, prior)}
    artifact.put_encoder(prior)
    after = plain_state(prior)
    assert all(torch.equal(after[key], value) for key, value in head.items())
    assert outcome.weights is not None
    for key in added_names(prior):  # levi's stand beside the encoder, and stay unused here
        assert torch.equal(after[key], outcome.weights[key]) or not is_encoder(key, prior)
    assert predicted(prior).shape[1] == 5


@pytest.mark.parametrize("name", ADAPTERS)
def test_runs_that_share_the_seed_of_new_weights_start_alike_whatever_their_own(name: str) -> None:
    starts = []
    for seed, init_seed in ((1, 7), (2, 7), (1, 8)):
        context, adapter = adapted("bert", name)
        context.model, context.seed, context.init_seed = family_model("bert"), seed, init_seed
        adapter.prepare_model(context)
        starts.append(plain_state(context.model))
    assert all(torch.equal(tensor, starts[1][key]) for key, tensor in starts[0].items())
    if name != "ia3":  # all ones, whatever the seed
        assert any(not torch.equal(tensor, starts[2][key]) for key, tensor in starts[0].items())


def test_a_weight_that_another_method_changed_before_the_first_step_is_saved_too(tmp_path: Path) -> None:
    context, adapter = adapted("bert", "lora")
    context.model = family_model("bert")
    before = checksums(context.model)
    changed = "bert.encoder.layer.1.attention.self.query.weight"
    with torch.no_grad():
        context.model.get_parameter(changed).mul_(-1)
    adapter.prepare_model(context)
    context.altered = altered_since(before, context.model)
    assert {plain_name(name) for name in context.altered} == {changed}
    artifact = stored("bert", tmp_path, trained(context, adapter), adapter)
    np.testing.assert_array_equal(predicted(artifact.model(LABELS, "classification", 0)), predicted(context.model))


@pytest.mark.parametrize("name", ["lora", "dora", "ia3"])
@pytest.mark.parametrize("family", FAMILIES)
def test_as_many_numbers_train_as_the_library_says(name: str, family: str) -> None:
    """Against a model that the library itself wraps, for the same layers."""
    from peft import IA3Config, LoraConfig, get_peft_model

    from ftbench.methods.lora import target_names
    from ftbench.training.insertion import insertion_sites

    sites = insertion_sites(family_model(family))
    inputs = [site.feed_forward.linear for site in sites]
    keys = [layer for site in sites for layer in (site.key, site.value)]
    config: Any = (
        IA3Config(target_modules=[*keys, *inputs], feedforward_modules=inputs)
        if name == "ia3"
        else LoraConfig(r=8, target_modules=target_names(sites, "query_value"), use_dora=name == "dora")
    )
    expected, _ = get_peft_model(family_model(family), config).get_nb_trainable_parameters()
    assert trainable(adapted(family, name)[0].model, head=False) == expected


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("name", "per_block"), [("houlsby_adapter", 2), ("pfeiffer_adapter", 1), ("parallel_adapter", 1)]
)
def test_a_bottleneck_has_the_parameters_of_its_formula(name: str, per_block: int, family: str) -> None:
    width, inner, blocks = 16, 5, 3
    context, _ = adapted(family, name, bottleneck=inner)
    assert trainable(context.model, head=False) == blocks * per_block * (2 * width * inner + width + inner)


@pytest.mark.parametrize("name", ["houlsby_adapter", "pfeiffer_adapter", "parallel_adapter"])
def test_a_normal_start_is_near_the_base_model_and_not_on_it(name: str) -> None:
    difference = np.abs(predicted(adapted("bert", name, init="normal")[0].model) - predicted(family_model("bert")))
    assert 0 < difference.max() < 0.05


@pytest.mark.parametrize(
    ("name", "config", "saved"),
    [
        ("prefix_tuning", {"virtual_tokens": 4, "network_width": 12}, ("prefix", (4, 2 * 3 * 16))),
        ("mam", {"virtual_tokens": 4}, ("prefix", (4, 2 * 3 * 16))),
        ("prompt_tuning", {"virtual_tokens": 4, "encoder": "mlp"}, ("prompt", (4, 16))),
        ("prompt_tuning", {"virtual_tokens": 4, "encoder": "lstm", "encoder_width": 8}, ("prompt", (4, 16))),
    ],
)
def test_a_network_that_makes_virtual_tokens_is_saved_as_what_it_makes(
    name: str, config: dict[str, Any], saved: tuple[str, tuple[int, int]], tmp_path: Path
) -> None:
    context, adapter = adapted("bert", name, **config)
    outcome = trained(context, adapter)
    assert outcome.weights is not None
    holder, shape = saved
    tables = {key: tensor for key, tensor in outcome.weights.items() if f".{holder}." in key}
    assert [tuple(tensor.shape) for tensor in tables.values()] == [shape]
    artifact = stored("bert", tmp_path, outcome, adapter)
    found = predicted(artifact.model(LABELS, "classification", 0))
    np.testing.assert_allclose(found, predicted(context.model), atol=1e-6)


def test_an_adapter_that_another_method_froze_is_refused() -> None:
    context, adapter = adapted("bert", "lora")
    probe = method("linear_probe")
    probe.prepare_model(context)
    with pytest.raises(FtbenchError, match="nothing that `lora` added is left to train"):
        trained(context, adapter, probe)


def test_two_adapters_in_one_run_are_refused() -> None:
    lora, ia3 = type(method("lora")), type(method("ia3"))
    problems = lora.check(method("lora").config, adapted("bert", "lora")[0].training, "classification", [ia3])
    assert "beside ['ia3']" in problems[0]
