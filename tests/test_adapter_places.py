"""Where adapters act: against blocks computed by hand, against the peft library, and against reference counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from adapted import adapted, trainable
from golden import case, needs_golden, toy_model
from model_families import SHAPES, family_model

from ftbench.config.errors import FtbenchError
from ftbench.methods.base import Context
from ftbench.training.bottleneck import Shape, add_beside_feed_forward
from ftbench.training.insertion import insertion_sites
from ftbench.training.layers import blocks

IDS = torch.tensor([[5, 11, 12, 13, 14, 6], [5, 21, 22, 6, 0, 0]])
MASK = (IDS != 0).long()


def first_block(name: str, family: str) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """The first block with an adapter that does not start at zero, an input for it, and what it makes of it."""
    context, _ = adapted(family, name, init="normal", deviation=0.5)
    model = context.model.eval()
    (_, block), *_ = blocks(model)
    seen: list[torch.Tensor] = []
    block.register_forward_hook(lambda _, given, __, out: seen.extend((given[0], out)), with_kwargs=True)
    with torch.no_grad():
        model(input_ids=IDS[:1], attention_mask=MASK[:1])
    given, out = seen
    return block, given, out[0] if isinstance(out, tuple) else out


@pytest.mark.parametrize("name", ["houlsby_adapter", "pfeiffer_adapter", "parallel_adapter"])
def test_in_a_block_that_normalises_last_adapters_act_where_their_formula_says(name: str) -> None:
    block, x, out = first_block(name, "bert")
    with torch.no_grad():
        attended = block.attention.output.dense(block.attention.self(x)[0])
        if name == "houlsby_adapter":
            attended = attended + block.attention_adapter(attended)
        x = block.attention.output.LayerNorm(attended + x)
        inner = block.output.dense(block.intermediate(x))
        if name == "houlsby_adapter":
            inner = inner + block.feed_forward_adapter(inner)
        elif name == "pfeiffer_adapter":
            inner = inner + block.feed_forward_adapter(block.output.LayerNorm(inner + x))
        else:
            inner = inner + block.parallel_adapter(x)
        expected = block.output.LayerNorm(inner + x)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["pfeiffer_adapter", "parallel_adapter"])
def test_in_a_block_that_normalises_first_adapters_act_where_their_formula_says(name: str) -> None:
    block, x, out = first_block(name, "gpt2")
    with torch.no_grad():
        x = x + block.attn(block.ln_1(x))[0]
        normed = block.ln_2(x)
        inner = block.mlp.c_proj(block.mlp.act(block.mlp.c_fc(normed)))
        adapter = block.parallel_adapter(normed) if name == "parallel_adapter" else block.feed_forward_adapter(inner)
        expected = x + inner + adapter
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "config", "formula"),
    [
        ("houlsby_adapter", {"activation": "swish"}, lambda z: z * torch.sigmoid(z)),
        ("parallel_adapter", {"scale": 3.0}, lambda z: z.clamp(min=0)),
    ],
)
def test_a_bottleneck_computes_its_formula(name: str, config: dict[str, Any], formula: Any) -> None:
    block, _, _ = first_block(name, "bert")
    adapter = block.attention_adapter if name == "houlsby_adapter" else block.parallel_adapter
    x = torch.randn(4, 16)
    down, up = adapter.down, adapter.up
    expected = config.get("scale", 1.0 if name == "houlsby_adapter" else 4.0)
    adapter.scale = expected
    found = expected * (formula(x @ down.weight.T + down.bias) @ up.weight.T + up.bias)
    torch.testing.assert_close(adapter(x), found)


@pytest.mark.parametrize("family", SHAPES)
def test_sites_are_the_projections_of_the_family(family: str) -> None:
    site = insertion_sites(family_model(family))[1]
    ends = [name.rpartition(".")[2] for name in (site.query, site.key, site.value, site.attention.linear)]
    expected = {
        "distilbert": ["q_lin", "k_lin", "v_lin", "out_lin"],
        "deberta-v2": ["query_proj", "key_proj", "value_proj", "dense"],
        "deberta-v3": ["query_proj", "key_proj", "value_proj", "dense"],
        "modernbert": ["Wqkv", "Wqkv", "Wqkv", "Wo"],
        "llama": ["q_proj", "k_proj", "v_proj", "o_proj"],
        "gpt2": ["c_attn", "c_attn", "c_attn", "c_proj"],
    }.get(family, ["query", "key", "value", "dense"])
    assert ends == expected
    last = {"distilbert": "lin2", "modernbert": "Wo", "llama": "down_proj", "gpt2": "c_proj"}.get(family, "dense")
    assert site.feed_forward.linear.rpartition(".")[2] == last
    assert (site.closing_norm is None) == (family in ("modernbert", "llama", "gpt2"))
    assert len(site.feed_forward_inputs) == (2 if family == "llama" else 1)


def without_positions(model: torch.nn.Module) -> torch.nn.Module:
    """The same embedding for every position: the library counts positions from behind a prefix, we do not."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("position_embeddings.weight", "wpe.weight")):
                parameter.copy_(parameter[:1].expand_as(parameter))
    return model


@pytest.mark.parametrize("network", [None, 12])
def test_a_prefix_gives_the_logits_of_the_library(network: int | None) -> None:
    from peft import PrefixTuningConfig, get_peft_model

    config = PrefixTuningConfig(
        task_type="SEQ_CLS", num_virtual_tokens=4, prefix_projection=network is not None, encoder_hidden_size=network
    )
    theirs = get_peft_model(without_positions(family_model("bert")), config).eval()
    context, _ = adapted("bert", "prefix_tuning", virtual_tokens=4, network_width=network)
    ours = without_positions(context.model).eval()
    encoder = theirs.prompt_encoder["default"]
    ours.get_submodule("bert.prefix.encoder").load_state_dict(encoder.state_dict())
    with torch.no_grad():
        expected = theirs(input_ids=IDS, attention_mask=MASK).logits
        found = ours(input_ids=IDS, attention_mask=MASK).logits
        plain = without_positions(family_model("bert")).eval()(input_ids=IDS, attention_mask=MASK).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert (found - plain).abs().max() > 1e-4


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2", "modernbert"])
@pytest.mark.parametrize("name", ["prefix_tuning", "prompt_tuning"])
def test_padding_changes_nothing_and_a_prompt_is_seen(name: str, family: str) -> None:
    context, _ = adapted(family, name, virtual_tokens=4)
    model = context.model.eval()
    with torch.no_grad():
        padded = model(input_ids=IDS, attention_mask=MASK).logits[1]
        alone = model(input_ids=IDS[1:, :4], attention_mask=MASK[1:, :4]).logits[0]
        plain = family_model(family).eval()(input_ids=IDS, attention_mask=MASK).logits[1]
    torch.testing.assert_close(padded, alone, rtol=0, atol=1e-5)
    assert (padded - plain).abs().max() > 1e-5


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_decoder_with_a_prefix_still_sees_no_later_token(family: str) -> None:
    context, _ = adapted(family, "prefix_tuning", virtual_tokens=3)
    changed = IDS[:1].clone()
    changed[0, -1] = 33
    backbone = getattr(context.model.eval(), context.model.base_model_prefix)
    with torch.no_grad():
        one, other = (backbone(input_ids=ids).last_hidden_state for ids in (IDS[:1], changed))
    torch.testing.assert_close(one[:, :-1], other[:, :-1])
    assert not torch.allclose(one[:, -1], other[:, -1])


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta-v2"])
def test_a_prompt_stands_behind_the_first_token_of_an_encoder(family: str) -> None:
    context, _ = adapted(family, "prompt_tuning", virtual_tokens=4)
    model = context.model.eval()
    ids = torch.tensor([[5, 11, 12, 13]])
    words = family_model(family).get_input_embeddings()(ids)  # type: ignore[operator]
    prompt = getattr(model, model.base_model_prefix).prompt
    with torch.no_grad():
        joined = torch.cat([words[:, :1], prompt.vectors()[None], words[:, 1:]], 1)
        expected = family_model(family).eval()(inputs_embeds=joined, attention_mask=torch.ones(1, 8)).logits
        found = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_prompt_in_a_decoder_gives_the_logits_of_the_library() -> None:
    from peft import PromptTuningConfig, get_peft_model

    theirs = get_peft_model(family_model("gpt2"), PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4)).eval()
    context, _ = adapted("gpt2", "prompt_tuning", virtual_tokens=4)
    ours = context.model.eval()
    ours.get_submodule("transformer.prompt.encoder").load_state_dict(theirs.prompt_encoder["default"].state_dict())
    ids = torch.tensor([[5, 11, 12, 13]])  # without padding: the library's head reads the last position
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        found = ours(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("encoder", ["mlp", "lstm"])
def test_p_tuning_trains_the_network_of_the_library(encoder: str) -> None:
    context, _ = adapted("bert", "prompt_tuning", virtual_tokens=4, encoder=encoder, encoder_width=8)
    network = context.model.get_submodule("bert.prompt.encoder")
    assert type(network).__name__ == "PromptEncoder"
    assert trainable(context.model, head=False) == sum(parameter.numel() for parameter in network.parameters())


def test_a_bottleneck_is_made_on_the_device_of_the_model() -> None:
    """MAM passes tokens through the model before all its parts are moved; a device without numbers stands for a GPU."""
    model = family_model("bert")
    sites = insertion_sites(model)
    add_beside_feed_forward(model.to("meta"), sites, lambda _: Shape(4, "relu", 1.0))
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_a_prompt_that_leaves_no_room_is_told_with_the_longest_input() -> None:
    context, _ = adapted("bert", "prompt_tuning", virtual_tokens=36)
    with pytest.raises(FtbenchError, match=r"`training\.max_length` to at most 4\."):
        context.model(input_ids=IDS, attention_mask=MASK)


def test_a_model_that_computes_attention_by_itself_is_refused_a_prefix() -> None:
    with pytest.raises(FtbenchError, match="DebertaV2ForSequenceClassification: found 0 of 3 blocks"):
        adapted("deberta-v2", "prefix_tuning")


@needs_golden
@pytest.mark.parametrize(
    ("key", "name", "settings"),
    [
        ("lora_default", "lora", {}),
        ("ia3_default_targets", "ia3", {"reference": True}),
        ("prefix", "prefix_tuning", {"virtual_tokens": 5}),
        ("prompt", "prompt_tuning", {"virtual_tokens": 5}),
    ],
)
def test_as_many_numbers_and_tensors_train_as_the_reference_counts_say(
    key: str, name: str, settings: dict[str, Any]
) -> None:
    from adapted import method
    from test_conformance import settings as training

    expected = case("peft_counts").content["values"][key]
    context = Context(model=toy_model(), training=training(), kind="classification", seed=1)
    method(name, train_pooler=False, **settings).prepare_model(context)
    chosen = [parameter for parameter in context.model.parameters() if parameter.requires_grad]
    assert len(chosen) == expected["tensors"]
    assert trainable(context.model) == expected["total_trainable"]
    assert trainable(context.model, head=False) == expected["method_part"]
