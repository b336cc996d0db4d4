"""Settings that all methods with bottleneck adapters share, and the shape that follows from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ftbench.training.adapter_method import AdapterMethod

if TYPE_CHECKING:
    from ftbench.training.bottleneck import Shape


Activation = Literal["relu", "gelu", "swish"]
ACTIVATION = "between the two layers of the bottleneck; swish: x times its sigmoid"


class BottleneckConfig(AdapterMethod.Config):
    """Width and start of a bottleneck; methods add their defaults of `reduction` and `activation`."""

    reduction: float = Field(16, gt=0, description="model width divided by bottleneck width")
    bottleneck: int | None = Field(None, gt=0, description="width of the bottleneck; null: by `reduction`")
    activation: Activation = Field("relu", description=ACTIVATION)
    scale: float = Field(1.0, gt=0, description="s: factor on the adapter's output")
    init: Literal["zero", "normal"] = Field(
        "zero", description="zero: U = 0, the base model's first pass; normal: D and U from N(0, deviation)"
    )
    deviation: float = Field(0.02, gt=0, description="standard deviation of `init: normal`")


class BottleneckMethod(AdapterMethod):
    """An adapter method whose added modules are bottlenecks."""

    unmergeable = "an activation stands inside the adapter, which no single weight matrix can take in"
    Config = BottleneckConfig

    def shape(self, size: int) -> Shape:
        """The bottleneck for a model of this width; at least one wide."""
        from ftbench.training.bottleneck import Shape

        asked = self.config
        width = asked.bottleneck or max(1, int(size / asked.reduction))
        return Shape(width, asked.activation, asked.scale, asked.init, asked.deviation)
