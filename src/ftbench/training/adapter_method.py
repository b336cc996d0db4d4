"""The base of methods that train small added modules and leave the pretrained weights as they are.

It freezes the model, draws the added modules from the seed of new weights, and saves only what a snapshot cannot
give back. `training/artifact.py` builds the model again from what is saved; nothing here reads or writes files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.config.study import Training
from ftbench.training.layers import is_encoder, is_head, is_pooler
from ftbench.training.method import Context, Method

if TYPE_CHECKING:
    import torch

PLAIN = "plain_names"  # attribute of a model that carries an adapter: the names of its own tensors
WRAPPED = ".base_layer."  # peft puts the original layer below its own


def plain_name(name: str) -> str:
    """The name of a tensor in the model without adapters."""
    return name.replace(WRAPPED, ".")


def plain_names(model: torch.nn.Module) -> frozenset[str]:
    """Names of the tensors that the model had before anything was added to it."""
    found: frozenset[str] = getattr(model, PLAIN, None) or frozenset(model.state_dict())
    return found


def added_names(model: torch.nn.Module) -> set[str]:
    """Names of the tensors that adapters added."""
    plain = plain_names(model)
    return {name for name in model.state_dict() if plain_name(name) not in plain}


class AdapterMethod(Method):
    """A method whose saved weights are added tensors, head and pooler; a subclass says what it attaches."""

    saves = "adapter"

    class Config(Strict):
        train_pooler: bool = Field(True, description="false: the pooler stays as it is, only the classifier trains")

    def attach(self, context: Context) -> None:
        """Add the modules to `context.model`; called with a random state of the method's own."""
        raise TypeError(f"{self.name} does not say what it attaches")

    def reader(self) -> AdapterMethod:
        """The method whose `attach` makes the modules that `export` saved; itself unless it saves other ones."""
        return self

    def loaded(self, model: torch.nn.Module) -> None:
        """Called when saved tensors have been put into a model, for what follows from them."""

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        """One adapter or difference a run: two would be saved in one file that neither could read."""
        clashing = sorted(other.name for other in others if other.saves != "model")
        if not clashing:
            return []
        return [f"{cls.name} beside {clashing}: at most one method of a run may save something else than all weights"]

    def prepare_model(self, context: Context) -> None:
        import torch

        from ftbench.training.seeds import derived

        model = context.model
        setattr(model, PLAIN, plain_names(model))
        device = next(model.parameters()).device
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        with torch.random.fork_rng():
            torch.manual_seed(derived(context.init_seed, "adapter", self.name))
            self.attach(context)
        model.to(device)
        for name, parameter in model.named_parameters():
            if plain_name(name) in plain_names(model):
                trained = is_head(name, model) or (self.config.train_pooler and is_pooler(name, model))
                parameter.requires_grad_(trained)

    def parameter_groups(self, groups: list[dict[str, Any]], context: Context) -> list[dict[str, Any]]:
        """Refuse a run in which another method froze what this one added."""
        if not added_names(context.model) & {name for group in groups for name in group["names"]}:
            raise FtbenchError(
                f"nothing that `{self.name}` added is left to train: another method of the run froze it. "
                "List that method before it under `use`, or leave one of them out."
            )
        return groups

    def export(self, state: dict[str, torch.Tensor], context: Context) -> dict[str, torch.Tensor]:
        return adapter_tensors(state, context)


def adapter_tensors(state: dict[str, torch.Tensor], context: Context) -> dict[str, torch.Tensor]:
    """What a snapshot cannot give back: added tensors, head and pooler, everything trained, and whatever another
    method changed before the first step."""
    model = context.model
    wanted = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    wanted |= added_names(model) | context.altered
    return {name: tensor for name, tensor in state.items() if name in wanted or not is_encoder(name, model)}


def checksums(model: torch.nn.Module) -> dict[str, tuple[float, float]]:
    """Two sums of each tensor, by its plain name: cheap enough to see which weights were changed."""
    return {
        plain_name(name): (float(tensor.double().sum()), float(tensor.double().square().sum()))
        for name, tensor in model.state_dict().items()
    }


def altered_since(before: dict[str, tuple[float, float]], model: torch.nn.Module) -> frozenset[str]:
    """Names of the model's own tensors whose sums are no longer those of `before`."""
    now = checksums(model)
    return frozenset(
        name
        for name in model.state_dict()
        if plain_name(name) in before and before[plain_name(name)] != now[plain_name(name)]
    )
