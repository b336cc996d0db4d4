"""SLERP: between the two best candidates along the arc instead of the line, tensor by tensor.

A line shortens vectors that point apart; the arc keeps their length.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.soups.base import Decision, Kitchen, Recipe

if TYPE_CHECKING:
    import torch

    from ftbench.merging.streaming import Parts, Rule

NEARLY_PARALLEL = 0.9995  # beyond this |cosine| the arc is a line


def arc_weights(cosine: float | None, t: float) -> tuple[float, float]:
    """The two factors of the arc at `t`, from the cosine of the tensors; those of the line where there is no angle."""
    if cosine is None or abs(cosine) > NEARLY_PARALLEL:
        return 1 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


def on_the_arc(first: str, second: str, t: float) -> Rule:
    """The rule of the arc from one run (t = 0) to another (t = 1)."""

    def merged(parts: Parts) -> torch.Tensor:
        from ftbench.merging.geometry import cosine, inner_products
        from ftbench.merging.streaming import weighted_sum

        tensors = [parts.of(first), parts.of(second)]
        return weighted_sum(tensors, arc_weights(cosine(inner_products(tensors), 0, 1), t), parts.accumulate)

    return merged


class Slerp(Recipe):
    """From the best candidate (t = 0) to the second best (t = 1); a single one stays as it is."""

    name = "slerp"
    summary = "spherical interpolation between the two best runs"
    paper = "Shoemake (1985), Animating rotation with quaternion curves; applied to weights by mergekit"
    reference_code = "arcee-ai/mergekit 0.1.5, merge_methods/slerp.py"
    formula = "sin((1-t) phi)/sin(phi) a + sin(t phi)/sin(phi) b, phi the angle of the raw tensors"

    class Config(Strict):
        t: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
            (0.5,), min_length=1, description="points tried; the best on `select` is kept, a single one needs no trial"
        )

    def decide(self, kitchen: Kitchen) -> Decision:
        runs = [candidate.run_id for candidate in kitchen.candidates[:2]]
        if len(runs) == 1:
            return Decision({runs[0]: 1.0})
        options = {
            str(t): Decision({runs[0]: 1 - t, runs[1]: t}, rule=on_the_arc(runs[0], runs[1], t)) for t in self.config.t
        }
        return kitchen.best_of(options, "t")
