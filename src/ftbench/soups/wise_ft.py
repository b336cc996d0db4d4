"""WiSE-FT: a point on the line from the model before fine-tuning to a fine-tuned one.

The line is tried at given points and the best on the `select` rows is kept. In-domain selection rows say little
about shift; fixing one `alpha` beforehand is the honest choice where the shift is the question.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.soups.base import Decision, Kitchen, Recipe, mean_of

if TYPE_CHECKING:
    import torch

    from ftbench.merging.streaming import Parts, Rule


def on_the_line(weights: dict[str, float], alpha: float, kept: Callable[[str], bool] | None = None) -> Rule:
    """The rule (1 - alpha) theta_0 + alpha sum_i w_i theta_i; tensors that `kept` names stay sum_i w_i theta_i."""

    def merged(parts: Parts) -> torch.Tensor:
        from ftbench.merging.streaming import weighted_sum

        if kept is not None and kept(parts.name):
            return weighted_sum([parts.of(run) for run in weights], list(weights.values()), parts.accumulate)
        tensors = [parts.initial(), *(parts.of(run) for run in weights)]
        return weighted_sum(tensors, [1 - alpha, *(alpha * share for share in weights.values())], parts.accumulate)

    return merged


def _head_of(kitchen: Kitchen) -> Callable[[str], bool]:
    """Whether a name is one of the head's: pooler and classifier, which feed nothing else."""
    from ftbench.training.layers import is_encoder

    assert kitchen.laboratory is not None
    model = kitchen.laboratory.model
    return lambda name: not is_encoder(name, model)


class WiseFt(Recipe):
    """The path of one run, the best by its select score, or of the mean of all."""

    name = "wise_ft"
    summary = "a point between the model before fine-tuning and after it"
    paper = "Wortsman et al. (2022), Robust fine-tuning of zero-shot models"
    reference_code = "mlfoundations/wise-ft"
    formula = "theta = (1 - alpha) theta_0 + alpha theta_1"
    deviations = (
        "the paper's theta_0 has a zero-shot head; ours has a new one that was never trained, so the fine-tuned head is"
        " kept at every point unless `head: interpolated` asks for the line between both",
    )
    needs_start = True
    keeps_one = False

    class Config(Strict):
        alphas: tuple[float, ...] = Field(
            tuple(step / 10 for step in range(11)),
            min_length=1,
            description="points tried; the best on `select` is kept, a single one needs no trial",
        )
        head: Literal["fine_tuned", "interpolated"] = Field(
            "fine_tuned", description="of every point: the end's, or a point between the new head at its start and it"
        )
        of: Literal["best", "mean"] = Field("best", description="the end of the line: best run, or mean of all")

    def decide(self, kitchen: Kitchen) -> Decision:
        runs = [candidate.run_id for candidate in kitchen.candidates]
        end = mean_of(runs if self.config.of == "mean" else runs[:1])
        kept = None if self.config.head == "interpolated" else _head_of(kitchen)
        options = {
            str(alpha): Decision(
                {run: alpha * share for run, share in end.items()},
                rule=on_the_line(end, alpha, kept),
                details={"start_weight": 1 - alpha},
            )
            for alpha in self.config.alphas
        }
        return kitchen.best_of(options, "alphas")
