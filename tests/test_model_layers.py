"""Layer groups are found from the module tree of every supported family."""

from __future__ import annotations

import pytest
from model_families import SHAPES, family_model

from ftbench.training.layers import blocks, layer_groups

WITH_TOP = {"bert": "bert.pooler", "minilm": "bert.pooler", "modernbert": "model.final_norm", "llama": "model.norm",
            "gpt2": "transformer.ln_f"}  # fmt: skip


@pytest.mark.parametrize("family", SHAPES)
def test_every_parameter_is_in_exactly_one_group(family: str) -> None:
    model = family_model(family)
    groups = layer_groups(model)
    together = [*groups.embeddings, *(name for block in groups.blocks for name in block), *groups.top, *groups.head]
    assert sorted(together) == sorted(name for name, _ in model.named_parameters())


@pytest.mark.parametrize("family", SHAPES)
def test_blocks_embeddings_top_and_head_are_told_apart(family: str) -> None:
    model = family_model(family)
    groups = layer_groups(model)
    assert len(blocks(model)) == len(groups.blocks) == 3
    assert len({len(block) for block in groups.blocks}) <= 2  # ModernBERT's first block has one norm less
    assert any("emb" in name or "wte" in name for name in groups.embeddings)
    assert not any("emb" in name or "wte" in name for name in (*groups.top, *groups.head))
    assert bool(groups.top) == (family in WITH_TOP)
    assert all(name.startswith(WITH_TOP.get(family, "")) for name in groups.top)
    assert {name.split(".")[0] for name in groups.head} & {"classifier", "score"}
