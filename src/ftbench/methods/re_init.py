"""Re-initialisation: the pooler and the top k blocks are drawn anew before plain fine-tuning.

Paper: Zhang et al. (2021), Revisiting Few-sample BERT Fine-tuning. Reference code:
asappresearch/revisit-bert-finetuning @ 0aa4f4e. Weights of linear layers ~ N(0, std), their biases 0, layer norms
to weight 1 and bias 0. Draws come from the stream of new weights, as the head's do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.methods.base import Method
from ftbench.training.insertion import is_linear
from ftbench.training.layers import backbone_prefix, is_normalisation, top_blocks

if TYPE_CHECKING:
    import torch

    from ftbench.methods.base import Context


class ReInit(Method):
    """Draw anew before the optimiser exists; `Context.initial` and anchors are the values after the draw."""

    name = "re_init"
    summary = "pooler and top blocks start from new random weights"
    paper = "Zhang et al. (2021), Revisiting Few-sample BERT Fine-tuning"
    reference_code = "asappresearch/revisit-bert-finetuning @ 0aa4f4e"
    formula = "theta_pooler, theta_L-k+1..L ~ N(0, std) with zero biases and unit norms; then plain fine-tuning"
    deviations = (
        "models without a pooler in their pretrained part re-initialise blocks only (`pooler: true` refuses them)",
        "a last normalisation behind the blocks keeps its values",
        "training has the stated number of steps (the reference takes one more, at rate 0)",
    )
    search = {"settings.blocks": (1, 2, 3, 4, 5, 6)}  # commonly searched

    alters_forward = True

    class Config(Strict):
        blocks: int = Field(1, ge=0, description="k: top blocks that are drawn anew; 0 leaves all of them")
        pooler: bool | None = Field(
            None, description="draw the pooler too; null: with at least one block, where the model has a pooler"
        )
        std: float | None = Field(None, gt=0, description="of the draws; null: the model's `initializer_range`")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.redrawn: set[str] = set()

    def generator(self, context: Context) -> torch.Generator:
        """The stream of the draws: of new weights, so one for all runs of a study with `init: shared`."""
        from ftbench.training.seeds import torch_generator

        return torch_generator(context.init_seed, "init", self.name)

    def refuse_model(self, model: torch.nn.Module) -> None:
        self._deviation(model)
        self._parts(model)

    def prepare_model(self, context: Context) -> None:
        """Draw pooler first, then the blocks from the lowest up, each in the order of registration."""
        std, generator = self._deviation(context.model), self.generator(context)
        for name, part in self._parts(context.model):
            self._draw(part, std, generator)
            self.redrawn |= {f"{name}.{inner}" for inner, _ in part.named_parameters()}

    def _deviation(self, model: torch.nn.Module) -> float:
        std = self.config.std if self.config.std is not None else getattr(model.config, "initializer_range", None)
        if not isinstance(std, float):
            raise FtbenchError(
                f"`re_init`: found no `initializer_range` in the configuration of {type(model).__name__}; "
                "expected `std` in the method's settings"
            )
        return std

    def _parts(self, model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
        """What is drawn anew, by name; layers of other classes than linear and normalisation are refused."""
        parts = [*self._pooler(model), *top_blocks(model, self.config.blocks, "blocks")]
        for name, part in parts:
            for inner, module in part.named_modules():
                own = dict(module.named_parameters(recurse=False))
                if own and not is_linear(module) and not is_normalisation(module):
                    raise FtbenchError(
                        f"`re_init`: found the layer {name}.{inner} of class {type(module).__name__}, for which the "
                        "paper gives no draw; expected linear and normalisation layers only"
                    )
        return parts

    def _pooler(self, model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
        name = backbone_prefix(model) + "pooler"
        module = dict(model.named_modules()).get(name)
        if self.config.pooler and module is None:
            raise FtbenchError(
                f"`re_init`, key `pooler`: found no pooler in the pretrained part of {type(model).__name__}; "
                "expected `null` or `false` for this model"
            )
        wanted = self.config.pooler if self.config.pooler is not None else self.config.blocks > 0
        return [(name, module)] if wanted and module is not None else []

    def _draw(self, part: torch.nn.Module, std: float, generator: torch.Generator) -> None:
        import torch

        for module in part.modules():
            with torch.no_grad():
                for key, parameter in module.named_parameters(recurse=False):
                    if key == "bias":
                        parameter.zero_()
                    elif is_linear(module):  # on the CPU, so that the draw does not depend on the device
                        parameter.copy_(torch.empty(parameter.shape).normal_(0, std, generator=generator))
                    else:
                        parameter.fill_(1)

    def parameter_groups(self, groups: list[dict[str, Any]], context: Context) -> list[dict[str, Any]]:
        """Unchanged; redrawn weights that another method froze raise an `FtbenchError`."""
        frozen = [name for name, parameter in context.model.named_parameters()
                  if name in self.redrawn and not parameter.requires_grad]  # fmt: skip
        if frozen:
            raise FtbenchError(
                f"`re_init`: found {frozen[0]} drawn anew and then frozen by another method; expected it to be "
                "trained. Draw fewer blocks anew, or freeze fewer."
            )
        return groups
