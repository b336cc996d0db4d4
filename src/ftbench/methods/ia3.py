"""(IA)^3: keys, values and the inner activations of the feed-forward layers are scaled by trained vectors.

Paper: Liu et al. (2022), Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning.
Reference code: the package peft.
Formula: K <- l_k * K, V <- l_v * V, h_inner <- l_ff * h_inner; all l = 1 at the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from ftbench.methods.base import Cost
from ftbench.training.adapter_method import AdapterMethod
from ftbench.training.insertion import insertion_sites
from ftbench.training.peft_modules import fold, inject

if TYPE_CHECKING:
    import torch

    from ftbench.methods.base import Context


class Ia3(AdapterMethod):
    """Three vectors a block."""

    name = "ia3"
    summary = "trained scales of keys, values and inner activations"
    paper = "Liu et al. (2022), Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning"
    reference_code = "peft (package): IA3Config(task_type='SEQ_CLS')"
    formula = "K <- l_k * K; V <- l_v * V; h_inner <- l_ff * h_inner; all l = 1 at the start"
    deviations = (
        "the vectors are not decayed: decay would pull the scales to 0 and not to 1",
        "cross-entropy alone, without the paper's two further losses for answer choices",
        "where one matrix computes query, key and value (GPT-2, ModernBERT), the queries are scaled too",
        "`reference: true` scales the input of the attention's output projection as well: the library's suffix "
        "`output.dense` means both output layers of a BERT block",
        "the pooler trains with the classifier (`train_pooler: false` leaves it frozen, as the library does for BERT)",
    )
    cost = Cost(
        forward=1.0, backward=0.0, frozen_backward=1.0, memory="optimiser state of the vectors and the head only"
    )
    search = {"training.learning_rate": (1e-3, 3e-3, 1e-2)}

    class Config(AdapterMethod.Config):
        reference: bool = Field(False, description="scale the attention's output projection too, as peft's rule does")

    def attach(self, context: Context) -> None:
        from peft import IA3Config

        sites = insertion_sites(context.model)
        inputs = [site.feed_forward.linear for site in sites]
        if self.config.reference:
            inputs += [site.attention.linear for site in sites]
        outputs = [name for site in sites for name in dict.fromkeys((site.key, site.value))]
        inject(IA3Config(target_modules=[*outputs, *inputs], feedforward_modules=inputs), context.model)

    def parameter_groups(self, groups: list[dict[str, Any]], context: Context) -> list[dict[str, Any]]:
        split: list[dict[str, Any]] = []
        for group in super().parameter_groups(groups, context):
            pairs = list(zip(group["names"], group["params"], strict=True))
            for vectors in (False, True):
                chosen = [(name, parameter) for name, parameter in pairs if (".ia3_l." in name) == vectors]
                if chosen:
                    names, parameters = zip(*chosen, strict=True)
                    decay = 0.0 if vectors else group["weight_decay"]
                    split.append({**group, "names": list(names), "params": list(parameters), "weight_decay": decay})
        return split

    def merge(self, model: torch.nn.Module) -> None:
        """Rows of W_k and W_v (with their biases) and columns of the last feed-forward matrix take the scales."""
        fold(model)
