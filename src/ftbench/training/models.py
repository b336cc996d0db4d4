"""Loading tokenizers and classification models from a local snapshot. Nothing here touches the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError

if TYPE_CHECKING:
    import torch

DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "dropout",
            "attention_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "seq_classif_dropout")  # fmt: skip


def load_tokenizer(snapshot: Path) -> Any:
    """The tokenizer of a snapshot; a folder without one raises an `FtbenchError`."""
    from transformers import AutoTokenizer
    from transformers.utils import logging

    # a new head is meant, so its report of `missing` weights would only alarm readers of the log
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    files = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "spm.model", "tokenizer.model")
    if not any((snapshot / name).is_file() for name in files):
        raise FtbenchError(
            f"{snapshot}: found no tokenizer; expected one of {', '.join(files)}. "
            "Save the tokenizer beside the model (`tokenizer.save_pretrained`)."
        )
    return AutoTokenizer.from_pretrained(snapshot, local_files_only=True, trust_remote_code=False)


def _config(snapshot: Path, labels: list[str], kind: str, dropout: float | None) -> Any:
    from transformers import AutoConfig

    names = labels if kind == "classification" else ["score"]
    config = AutoConfig.from_pretrained(
        snapshot,
        local_files_only=True,
        trust_remote_code=False,
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        problem_type="regression" if kind == "regression" else "single_label_classification",
    )
    if dropout is not None:
        for key in DROPOUTS:
            if getattr(config, key, None) is not None:
                setattr(config, key, dropout)
    return config


def _padding(config: Any, padding_id: int | None) -> None:
    # decoder classifiers read the last token that is not padding and need to know which that is
    if getattr(config, "pad_token_id", None) is None and padding_id is not None:
        config.pad_token_id = padding_id


def new_classifier(
    snapshot: Path,
    labels: list[str],
    kind: str,
    init_seed: int,
    dropout: float | None = None,
    padding_id: int | None = None,
) -> torch.nn.Module:
    """The pretrained model with a new head drawn from `init_seed`; one output for a regression."""
    import torch
    from transformers import AutoModelForSequenceClassification

    config = _config(snapshot, labels, kind, dropout)
    _padding(config, padding_id)
    with torch.random.fork_rng():
        torch.manual_seed(init_seed)
        model: torch.nn.Module = AutoModelForSequenceClassification.from_pretrained(
            snapshot, config=config, local_files_only=True, trust_remote_code=False, dtype=torch.float32
        )
    return model


def started_classifier(
    snapshot: Path,
    labels: list[str],
    kind: str,
    init_seed: int,
    start: Path | None,
    dropout: float | None = None,
    padding_id: int | None = None,
) -> torch.nn.Module:
    """What a fine-tuning starts from: the base model with a new head, its pretrained part after the prior task
    where `start` names the weights of that."""
    from ftbench.training.layers import is_head
    from ftbench.training.weights import load_weights

    model = new_classifier(snapshot, labels, kind, init_seed, dropout, padding_id)
    if start is not None:
        replace_weights(model, load_weights(start), only=lambda name: not is_head(name, model))
    return model


def classifier_with(
    snapshot: Path,
    labels: list[str],
    kind: str,
    weights: Mapping[str, torch.Tensor],
    padding_id: int | None = None,
) -> torch.nn.Module:
    """The snapshot's architecture with given weights; missing or unexpected names raise an `FtbenchError`."""
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.initialization import no_init_weights

    config = _config(snapshot, labels, kind, None)
    _padding(config, padding_id)
    with no_init_weights(), torch.random.fork_rng():
        model: torch.nn.Module = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    replace_weights(model, weights)
    return model


def checkpoint_classifier(snapshot: Path, labels: list[str], kind: str) -> torch.nn.Module:
    """The snapshot with the head it was saved with, which must have these labels in this order, by name."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(snapshot, local_files_only=True, trust_remote_code=False)
    found = [str(config.id2label[number]).lower() for number in range(config.num_labels)]
    expected = [label.lower() for label in labels] if kind == "classification" else None
    if (expected is None and len(found) != 1) or (expected is not None and found != expected):
        raise FtbenchError(
            f"{snapshot}: found a head with the labels {found}; `prior.trained: checkpoint` expects {labels}, by name "
            "and in this order. Give the data-set entry the checkpoint's order, or let the graph train the prior task."
        )
    model, report = AutoModelForSequenceClassification.from_pretrained(
        snapshot, local_files_only=True, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise FtbenchError(
            f"{snapshot}: found no trained head for a classification (missing {missing[:3]}); "
            "let the graph train the prior task (`prior.trained: graph`)."
        )
    loaded: torch.nn.Module = model
    return loaded


def language_model(snapshot: Path, objective: str) -> torch.nn.Module:
    """The snapshot with its own language-model head, `masked` or `causal`; one without such a head is refused."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    kind: Any = AutoModelForMaskedLM if objective == "masked" else AutoModelForCausalLM
    try:
        model, report = kind.from_pretrained(
            snapshot, local_files_only=True, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
        )
    except ValueError as error:
        raise FtbenchError(f"{snapshot}: found no architecture for a {objective} language model ({error})") from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise FtbenchError(
            f"{snapshot}: found no trained head for a {objective} language model (missing {missing[:3]}). "
            "Take a checkpoint that was saved with it; or give a prior task labels, an attack another model entry "
            "(`language_model`)."
        )
    loaded: torch.nn.Module = model
    return loaded


def replace_weights(
    model: torch.nn.Module, weights: Mapping[str, torch.Tensor], only: Callable[[str], bool] = lambda _: True
) -> None:
    """Copy weights into a model by name: all of them, or those whose name `only` accepts."""
    state = model.state_dict()
    wanted = {name for name in state if only(name)}
    given = {name: tensor for name, tensor in weights.items() if only(name)}
    unexpected = sorted(set(given) - wanted)
    storages = {state[name].data_ptr() for name in given if name in state}
    missing = sorted(name for name in wanted - set(given) if state[name].data_ptr() not in storages)
    if unexpected or missing:
        raise FtbenchError(
            f"the weights do not fit the model {type(model).__name__}: missing {missing[:5]}, "
            f"unexpected {unexpected[:5]}. "
            "Was the checkpoint made from another base model?"
        )
    model.load_state_dict({**state, **given})
