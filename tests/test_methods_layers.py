"""Methods that choose whole tensors by depth or kind: BitFit, top-K layers, layer-wise rates, re-initialisation."""

from __future__ import annotations

import pytest
import torch
from golden import case, needs_golden, toy_model, toy_training
from method_runs import assert_same, changed, family_job, job, made, start, weights
from model_families import SHAPES, family_model

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import validated
from ftbench.methods.base import Context
from ftbench.plugins import plugins
from ftbench.training.layers import blocks, is_head, layer_groups
from ftbench.training.loop import train
from ftbench.training.optimization import parameter_groups
from ftbench.training.weights import plain_state

WITHOUT_BIASES = ("modernbert", "llama")
WITH_POOLER = ("bert", "minilm")  # in their pretrained part


def toy_context(seed: int = 0, init_seed: int = 0) -> Context:
    return Context(toy_model(), toy_training(), "classification", seed=seed, init_seed=init_seed)


def initial(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in plain_state(model).items()}


@needs_golden
@pytest.mark.parametrize("variant", ["all", "query_and_intermediate"])
def test_bitfit_trains_the_parameters_that_the_reference_trains(variant: str) -> None:
    context = toy_context()
    made("bitfit", biases=variant).prepare_model(context)
    trained = {name: p.numel() for name, p in context.model.named_parameters() if p.requires_grad}
    expected = case("bitfit").content["values"][variant]
    assert sorted(trained) == sorted(expected["trainable"])
    assert sum(trained.values()) == expected["count"]


@pytest.mark.parametrize("family", [family for family in SHAPES if family not in WITHOUT_BIASES])
def test_bitfit_moves_biases_and_head_and_nothing_else(family: str) -> None:
    given = family_job(family, made("bitfit"))
    before = initial(given.context.model)
    after = train(given).weights
    assert after is not None
    allowed = {name for name in before if name.endswith("bias") or is_head(name, given.context.model)}
    moved = changed(before, after)
    assert moved <= allowed
    assert any("bias" in name and not is_head(name, given.context.model) for name in moved)
    assert any(is_head(name, given.context.model) for name in moved)


@pytest.mark.parametrize("family", WITHOUT_BIASES)
def test_bitfit_refuses_a_model_without_biases(family: str) -> None:
    with pytest.raises(FtbenchError, match="found no bias in the pretrained part"):
        family_job(family, made("bitfit"))


def test_bitfit_refuses_query_biases_where_they_are_not_apart() -> None:
    with pytest.raises(FtbenchError, match="expected `all` for this model"):
        family_job("gpt2", made("bitfit", biases="query_and_intermediate"))


@needs_golden
@pytest.mark.parametrize("decay", [0.95, 1.0])
def test_llrd_makes_the_groups_of_the_reference(decay: float) -> None:
    stored = case("llrd_groups").content
    context = toy_context()
    training = toy_training(learning_rate=stored["hyper"]["lr"], weight_decay=stored["hyper"]["weight_decay"])
    groups = made("llrd", decay=decay).parameter_groups(parameter_groups(context.model, training), context)
    expected = stored["values"][str(decay)]
    assert len(groups) == len(expected)
    for group, wanted in zip(groups, expected, strict=True):
        assert sorted(group["names"]) == sorted(wanted["names"])
        assert group["lr"] == pytest.approx(wanted["lr"], rel=1e-12)
        assert group["weight_decay"] == wanted["weight_decay"]
        named = dict(context.model.named_parameters())
        assert all(p is named[name] for name, p in zip(group["names"], group["params"], strict=True))


@pytest.mark.parametrize("family", SHAPES)
def test_llrd_gives_every_parameter_the_rate_of_its_depth_once(family: str) -> None:
    model = family_model(family)
    context = Context(model, toy_training(learning_rate=1.0), "classification", seed=0)
    groups = made("llrd", decay=0.5).parameter_groups(parameter_groups(model, context.training), context)
    rates = {name: group["lr"] for group in groups for name in group["names"]}
    assert sorted(name for group in groups for name in group["names"]) == sorted(dict(model.named_parameters()))
    depths = layer_groups(model)
    assert {rates[name] for name in depths.embeddings} == {0.5**4}
    for level, names in enumerate(depths.blocks):  # three blocks, the lowest first
        assert {rates[name] for name in names} == {0.5 ** (3 - level)}
    assert {rates[name] for name in (*depths.top, *depths.head)} == {1.0}


def test_llrd_without_decay_is_plain_fine_tuning() -> None:
    assert_same(weights(made("llrd", decay=1.0)), weights())


def test_llrd_keeps_to_what_other_methods_leave_to_train() -> None:
    given = job(made("top_k_layers", layers=1), made("llrd"))
    names = {name for name, p in given.context.model.named_parameters() if p.requires_grad}
    groups = given.methods[1].parameter_groups(
        parameter_groups(given.context.model, given.context.training), given.context
    )
    assert {name for group in groups for name in group["names"]} == names


@needs_golden
def test_re_init_draws_what_the_reference_draws() -> None:
    stored = case("re_init")
    hyper, context = stored.content["hyper"], toy_context()
    before = initial(context.model)
    method = made("re_init", blocks=hyper["blocks"], std=hyper["std"])
    method.generator = lambda _: torch.Generator().manual_seed(hyper["seed"])  # type: ignore[attr-defined]
    method.prepare_model(context)
    after = plain_state(context.model)
    assert method.redrawn == set(stored.content["values"]["changed"])  # type: ignore[attr-defined]
    assert changed(before, after) <= set(stored.content["values"]["changed"])
    for name, tensor in stored.expected.items():
        assert torch.allclose(after[name], tensor, atol=1e-7, rtol=0), name


@pytest.mark.parametrize("family", SHAPES)
def test_re_init_draws_top_blocks_and_pooler_and_leaves_the_rest(family: str) -> None:
    given = family_job(family, made("re_init", blocks=2, std=0.5))
    model, before = given.context.model, initial(family_model(family))
    after = plain_state(model)
    depths = layer_groups(model)
    pooler = {name for name in depths.top if ".pooler." in name}
    assert bool(pooler) == (family in WITH_POOLER)
    drawn = {*depths.blocks[1], *depths.blocks[2], *pooler}
    assert changed(before, after) <= drawn
    matrices = [after[name] for name in drawn if after[name].ndim == 2]
    assert all(torch.any(after[name] != before[name]) for name in drawn if after[name].ndim == 2)
    together = torch.cat([matrix.flatten() for matrix in matrices])
    assert together.std().item() == pytest.approx(0.5, rel=0.05)  # about 4,000 draws: standard error near 1 %
    for name in drawn:
        if after[name].ndim == 1:
            assert torch.all(after[name] == (0 if name.endswith("bias") else 1)), name


def test_re_init_of_no_block_is_plain_fine_tuning() -> None:
    assert_same(weights(made("re_init", blocks=0)), weights())


@needs_golden
def test_re_init_draws_from_the_stream_of_new_weights_and_not_from_the_runs_seed() -> None:
    def drawn(seed: int, init_seed: int) -> torch.Tensor:
        context = toy_context(seed, init_seed)
        made("re_init").prepare_model(context)
        return context.model.bert.pooler.dense.weight  # type: ignore[union-attr,return-value]

    assert torch.equal(drawn(0, 7), drawn(1, 7))
    assert not torch.equal(drawn(0, 7), drawn(0, 8))


@pytest.mark.parametrize("family", [family for family in SHAPES if family not in WITH_POOLER])
def test_re_init_refuses_a_pooler_that_the_model_does_not_have(family: str) -> None:
    with pytest.raises(FtbenchError, match="found no pooler in the pretrained part"):
        family_job(family, made("re_init", pooler=True))


def test_re_init_refuses_drawn_weights_that_stay_frozen() -> None:
    with pytest.raises(FtbenchError, match="drawn anew and then frozen"):
        train(job(made("re_init", blocks=2), made("top_k_layers", layers=1)))


@pytest.mark.parametrize(("name", "key"), [("top_k_layers", "layers"), ("re_init", "blocks")])
def test_more_blocks_than_the_model_has_are_refused(name: str, key: str) -> None:
    with pytest.raises(FtbenchError, match=rf"key `{key}`: found 4; expected at most 3"):
        family_job("bert", made(name, **{key: 4}))


@pytest.mark.parametrize("family", SHAPES)
def test_top_k_layers_freezes_what_lies_below_bit_for_bit(family: str) -> None:
    given = family_job(family, made("top_k_layers", layers=1))
    depths = layer_groups(given.context.model)
    before = initial(given.context.model)
    after = train(given).weights
    assert after is not None
    moved = changed(before, after)
    assert not moved & {*depths.embeddings, *depths.blocks[0], *depths.blocks[1]}
    assert moved & set(depths.blocks[2])
    assert moved & set(depths.head)


def test_top_k_layers_with_all_blocks_is_plain_fine_tuning() -> None:
    assert_same(weights(made("top_k_layers", layers=2)), weights())


def test_top_k_layers_with_no_block_is_the_linear_probe() -> None:
    after = weights(made("top_k_layers", layers=0))
    assert_same(after, weights(made("linear_probe")))
    assert all(name.startswith(("classifier", "bert.pooler")) for name in changed(start(), after))


def test_top_k_layers_trains_embeddings_when_asked() -> None:
    moved = changed(start(), weights(made("top_k_layers", layers=1, embeddings=True)))
    assert any("embeddings" in name for name in moved)
    assert not any(".layer.0." in name for name in moved)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("llrd", {"decay": 0}), ("llrd", {"decay": 1.1}), ("re_init", {"blocks": -1}), ("re_init", {"std": 0}),
        ("top_k_layers", {"layers": -1}), ("bitfit", {"biases": "some"}),
    ],
)  # fmt: skip
def test_settings_out_of_bounds_are_refused_with_their_key(name: str, settings: dict[str, object]) -> None:
    with pytest.raises(FtbenchError, match=next(iter(settings))):
        validated(plugins("methods")[name].factory.Config, settings, "study.yaml", "settings")


@pytest.mark.parametrize("family", SHAPES)
def test_every_linear_layer_of_a_block_is_known_by_what_it_computes(family: str) -> None:
    from ftbench.training.layers import block_linears

    model = family_model(family)
    roles = [linear.role for linear in block_linears(model)]
    assert "other" not in roles
    assert roles.count("attention_output") == len(blocks(model))
    assert roles.count("query") + roles.count("query_key_value") == len(blocks(model))
