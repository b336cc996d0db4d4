"""From scratch: the control without pretraining. Every weight of the encoder is drawn anew before training.

What such a run reaches on the new task needs no pretraining, and what it scores on the prior task is what a head
gives on an encoder that knows nothing: damage is measured against both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ftbench.methods.base import Method
from ftbench.training.layers import is_encoder
from ftbench.training.seeds import derived

if TYPE_CHECKING:
    from ftbench.methods.base import Context


class FromScratch(Method):
    """Plain fine-tuning of the same architecture with random weights."""

    name = "from_scratch"
    summary = "control: the encoder's weights are drawn anew, nothing is left of pretraining"
    paper = "Zhang et al. (2021), Revisiting Few-sample BERT Fine-tuning (re-initialisation, here of all layers)"
    formula = "theta_encoder ~ the architecture's own initialisation; then theta <- AdamW(theta, grad mean CE)"
    alters_forward: ClassVar[bool] = True

    def prepare_model(self, context: Context) -> None:
        import torch

        model = context.model
        with torch.random.fork_rng(), torch.no_grad():
            # one start for all seeds, as the pretrained one is, so that runs can be averaged
            torch.manual_seed(derived(0, "init", self.name))
            fresh = type(model)(model.config)
            state = {name: tensor for name, tensor in fresh.state_dict().items() if is_encoder(name, model)}
            model.load_state_dict({**model.state_dict(), **{k: v.to(model.device) for k, v in state.items()}})
