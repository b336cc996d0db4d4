"""What identifies the model that a run starts from, and that model rebuilt from the run's record.

`finetune` writes down the first; recipes that need theta_0 get the second, whose hash is compared with the run's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError
from ftbench.training.models import DROPOUTS, started_classifier
from ftbench.training.seeds import derived
from ftbench.training.weights import plain_state, weights_hash

if TYPE_CHECKING:
    import torch

_TOKENIZER_FILES = (
    "tokenizer*", "vocab*", "merges.txt", "spiece.model", "spm.model", "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
# of a model's configuration: what says nothing about the function that its weights compute
_INCIDENTAL = {"id2label", "label2id", "transformers_version", "_name_or_path", "architectures", "dtype", *DROPOUTS}


def identity(snapshot: Path, model: torch.nn.Module) -> dict[str, Any]:
    """What runs must share to be averaged, beside their first weights: digests of architecture, tokenizer, base."""
    config = {key: value for key, value in model.config.to_dict().items() if key not in _INCIDENTAL}  # type: ignore[union-attr, operator]
    text = json.dumps(config, sort_keys=True, default=str)
    total = hashlib.sha256()
    for file in sorted({file for pattern in _TOKENIZER_FILES for file in snapshot.glob(pattern)}):
        total.update(file.name.encode() + b"\n" + file.read_bytes())
    record = snapshot.parent / "base.json"
    base = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    return {
        "architecture": f"{type(model).__name__} {hashlib.sha256(text.encode()).hexdigest()[:16]}",
        "tokenizer_digest": total.hexdigest(),
        "base_digest": base.get("digest"),
    }


def rebuilt_start(
    record: Mapping[str, Any], snapshot: Path, prior: Path | None, padding_id: int | None
) -> dict[str, torch.Tensor]:
    """theta_0 of a run from its record: all weights before the first step, equal in hash to those it had.

    What the run's methods do to the model before training is done again where the plain start is another one.
    """
    from ftbench.config.study import Training
    from ftbench.plugins import plugin
    from ftbench.training.method import Context

    seed = record["init_seed"]
    model = started_classifier(
        snapshot, record["labels"], record["kind"], derived(seed, "init"), prior, None, padding_id
    )
    state = plain_state(model)
    if weights_hash(state) == record["init_hash"]:
        return state
    plain = {name: tensor.clone() for name, tensor in state.items()}
    training = Training.model_validate(json.loads(record["config_json"])["training"])
    context = Context(model=model, training=training, kind=record["kind"], seed=record["seed"], init_seed=seed)
    for plug in record["methods"]:
        factory = plugin("methods", plug["name"]).factory
        factory(factory.Config.model_validate(plug["config"])).prepare_model(context)
    state = plain_state(context.model)
    if weights_hash(state) != record["init_hash"]:
        raise FtbenchError(
            f"{record['run_id']}: its weights before the first step cannot be rebuilt (hash "
            f"{weights_hash(state)[:12]}; its record has {str(record['init_hash'])[:12]}). Use a recipe that does "
            "not need them, or run the study again."
        )
    # adapters start as the plain model does, and their tensors are no part of its
    return state if state.keys() == plain.keys() else plain
