"""From a saved artifact back to a model that runs, and to plain weights where there are any.

A weights file holds all weights, or an adapter (added tensors, head and pooler), or a difference (entries that
changed against the start); its header says which. The stages that read artifacts do so here and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError
from ftbench.config.study import Training
from ftbench.training.adapter_method import AdapterMethod, added_names
from ftbench.training.layers import is_encoder
from ftbench.training.method import Context, Method

if TYPE_CHECKING:
    import torch

SAVES = "saves"  # key of the header
INDICES, VALUES = ":indices", ":values"  # endings of the two tensors that hold a changed one


def saved_form(methods: Iterable[Method]) -> dict[str, str]:
    """The header of what a run with these methods saves; nothing for all weights."""
    forms = {method.saves for method in methods} - {"model"}
    if len(forms) > 1:
        raise FtbenchError(f"the methods of one run save {sorted(forms)}; expected one form of weights")
    return {SAVES: forms.pop()} if forms else {}


def form_of(file: Path) -> str:
    """`model`, `adapter` or `difference`: what a weights file holds."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="pt") as opened:
            return str((opened.metadata() or {}).get(SAVES, "model"))
    except (SafetensorError, FileNotFoundError) as error:
        raise FtbenchError(f"{file}: found no readable safetensors file ({error}). Delete it and run again.") from None


@dataclass(frozen=True)
class Artifact:
    """A weights file with what it takes to read it."""

    snapshot: Path
    file: Path
    methods: tuple[tuple[str, Mapping[str, Any]], ...] = ()  # plug-ins of the run with their settings, in order
    start: Path | None = None  # weights after the prior task, where the study has one

    @classmethod
    def of(cls, inputs: Mapping[str, Path], model: str = "model", record: str = "record") -> Artifact:
        """The artifact among the inputs of a stage: `base`, a weights file, its record, and `start` where there
        is a prior task."""
        content = json.loads(inputs[record].read_text()) if record in inputs else {}
        plugs = content.get("methods") or []
        methods = tuple((str(plug["name"]), dict(plug["config"])) for plug in plugs)
        return cls(inputs["base"].parent / "snapshot", inputs[model], methods, inputs.get("start"))

    @classmethod
    def opened(cls, inputs: Mapping[str, Path], labels: list[str], kind: str) -> tuple[torch.nn.Module, Any]:
        """The model of a stage's artifact on this process's device, and its tokenizer."""
        from ftbench.training.inference import device
        from ftbench.training.models import load_tokenizer

        artifact = cls.of(inputs)
        tokenizer = load_tokenizer(artifact.snapshot)
        return artifact.model(labels, kind, tokenizer.pad_token_id).to(device()), tokenizer

    @property
    def form(self) -> str:
        return form_of(self.file)

    def model(self, labels: list[str], kind: str, padding_id: int | None = None) -> torch.nn.Module:
        """The model as it was saved, ready to predict; its dropout is that of the snapshot."""
        from ftbench.training.models import classifier_with, started_classifier
        from ftbench.training.weights import load_weights

        if self.form == "model":
            return classifier_with(self.snapshot, labels, kind, load_weights(self.file), padding_id)
        model = started_classifier(self.snapshot, labels, kind, 0, self.start, None, padding_id)
        self._put(model, lambda _: True)
        return model

    def put_encoder(self, model: torch.nn.Module) -> None:
        """Give a model of the same snapshot and start the artifact's embeddings and blocks; pooler and classifier
        stay the model's own."""
        self._put(model, lambda name: is_encoder(name, model))

    def plain_weights(self, labels: list[str], kind: str, padding_id: int | None = None) -> dict[str, torch.Tensor]:
        """All weights under the names of the plain model; an adapter that cannot be merged exactly is refused."""
        from ftbench.training.weights import load_weights, plain_state

        if self.form == "model":
            return load_weights(self.file)
        adapters = self._adapters() if self.form == "adapter" else []
        for method in adapters:
            if method.unmergeable:
                raise FtbenchError(f"{self.file}: {method.name} cannot be turned into plain weights: "
                                   f"{method.unmergeable}.")  # fmt: skip
        model = self.model(labels, kind, padding_id)
        for method in adapters:
            method.merge(model)
        return plain_state(model)

    def _adapters(self) -> list[AdapterMethod]:
        from ftbench.plugins import plugin

        built: list[AdapterMethod] = []
        for name, settings in self.methods:
            factory = plugin("methods", name).factory
            if issubclass(factory, AdapterMethod):
                built.append(factory(factory.Config.model_validate(settings)).reader())
        if not built:
            raise FtbenchError(f"{self.file}: holds an adapter, but its record names none of the methods that save one")
        return built

    def _put(self, model: torch.nn.Module, only: Callable[[str], bool]) -> None:
        from ftbench.training.models import replace_weights
        from ftbench.training.weights import load_weights, plain_state

        stored = load_weights(self.file)
        if self.form == "difference":
            stored = decode_difference(plain_state(model), stored)
            replace_weights(model, stored, only)
            return
        if self.form == "adapter":
            context = Context(model=model, training=Training(), kind="classification", seed=0)
            adapters = self._adapters()
            for method in adapters:
                method.prepare_model(context)
            # what the snapshot has needs not be stored
            expected = set(stored) | added_names(model)
            expected |= {name for name in model.state_dict() if not is_encoder(name, model)}
            replace_weights(model, stored, lambda name: only(name) and name in expected)
            for method in adapters:
                method.loaded(model)
            return
        replace_weights(model, stored, only)


def encode_difference(
    start: Mapping[str, torch.Tensor], end: Mapping[str, torch.Tensor], dense: Callable[[str], bool]
) -> dict[str, torch.Tensor]:
    """The entries of `end` that differ from `start`, bit for bit: flat positions and new values of each tensor.

    Tensors that `dense` names (the head, which a snapshot does not have) and those where positions would take more
    room than the tensor itself are stored whole; unchanged ones are left out.
    """
    import torch

    stored: dict[str, torch.Tensor] = {}
    for name, tensor in end.items():
        before = start.get(name)
        if dense(name) or before is None or before.shape != tensor.shape or before.dtype != tensor.dtype:
            stored[name] = tensor
            continue
        flat = tensor.detach().reshape(-1)
        kind = torch.int32 if flat.numel() < 2**31 else torch.int64
        places = (flat != before.to(flat.device).reshape(-1)).nonzero().reshape(-1).to(kind)
        if not len(places):
            continue
        if len(places) * (places.element_size() + flat.element_size()) >= flat.numel() * flat.element_size():
            stored[name] = tensor
            continue
        stored[name + INDICES], stored[name + VALUES] = places, flat[places.long()].clone()
    return stored


def changed_entries(state: Mapping[str, torch.Tensor], context: Context) -> dict[str, torch.Tensor]:
    """What a method that saves a difference exports: the entries that training changed, head and pooler whole, and
    whole tensors that other methods had changed before the first step, which no snapshot gives back."""
    return encode_difference(
        context.initial, state, lambda name: name in context.altered or not is_encoder(name, context.model)
    )


def decode_difference(start: Mapping[str, torch.Tensor], stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All weights again: `start` with the stored entries and tensors in their places."""
    import torch

    weights = {name: tensor.clone() for name, tensor in start.items()}
    for name, tensor in stored.items():
        if name.endswith(VALUES):
            continue
        if not name.endswith(INDICES):
            weights[name] = tensor
            continue
        base, values = name.removesuffix(INDICES), stored.get(name.removesuffix(INDICES) + VALUES)
        places = tensor.long()
        fits = base in weights and values is not None and len(values) == len(places)
        if not fits or (len(places) and not 0 <= int(places.min()) <= int(places.max()) < weights[base].numel()):
            raise FtbenchError(
                f"a stored difference of `{base}` does not fit its start: expected positions in a tensor of the model "
                "and as many values. Was it made from another base model?"
            )
        assert values is not None
        flat = weights[base].reshape(-1)
        flat[places] = values.to(flat.dtype)
        weights[base] = torch.reshape(flat, weights[base].shape)
    return weights
