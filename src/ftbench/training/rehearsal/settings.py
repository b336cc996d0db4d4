"""The settings of rehearsal: which sampler, how many rows, and the knobs of the samplers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.data.bins import Scheme

if TYPE_CHECKING:
    from ftbench.training.method import PriorFacts


class Settings(Strict):
    """What the method `rehearsal` can be told; (ours) marks what no paper says."""

    sampler: Literal[
        "none", "random", "random_correct", "prior_loss", "prior_loss_max", "max_loss", "mir", "importance",
        "mix_cd", "mix_cd_oracle",
    ] = Field("mix_cd", description="how rows are chosen")  # fmt: skip
    ratio: float = Field(1 / 9, ge=0, lt=1, description="r: rehearsed rows as a share of all rows of a step")
    budget: Literal["add", "swap"] = Field(
        "add", description="add: beside all new rows; swap: in the place of some, the batch keeps its size"
    )
    prior_weight: float = Field(1.0, gt=0, description="weight of the rehearsed rows' loss (ours)")
    pool: Literal["auto", "prior_correct", "all"] = Field(
        "auto", description="rows that may be drawn; auto: the formerly right ones for mix_cd and random_correct"
    )
    bins: Scheme = Field("loss", description="how the pool is divided, for mix_cd and for the trace")
    bin_count: int | None = Field(None, gt=0, description="loss bins; null: 10, or 5 with loss_x_aux (ours)")
    smallest: int = Field(50, gt=0, description="rows below which a cell of loss_x_aux joins the next (ours)")
    aux: str = Field("label", description="of bins by aux: `label`, `length`, or a name that the entry keeps")
    discount: float = Field(0.99, gt=0, le=1, description="gamma: how counts of damage fade per step (ours)")
    prior_count: float = Field(1.0, gt=0, description="a: rows that a bin's rate starts with (ours)")
    prior_rate: float = Field(0.05, gt=0, lt=1, description="alpha_0: the rate it starts with (ours)")
    floor: float = Field(0.1, gt=0, le=1, description="epsilon: least rate of a bin, relative to the mean (ours)")
    refresh: int = Field(50, gt=0, description="U: steps between the oracle's looks at the whole pool (ours)")
    power: float = Field(1.0, ge=0, description="beta: exponent of the prior loss in prior_loss (ours)")
    candidates: int = Field(32, gt=0, description="M: rows that max_loss and mir choose from (ours)")
    virtual_length: float = Field(0.1, gt=0, description="length of mir's virtual step (ours)")
    max_repeats: int | None = Field(None, gt=0, description="how often one row may come; null: no bound (ours)")
    clean_indicator: bool = Field(
        False, description="judge damage without dropout, at the price of one more forward pass of the rows (ours)"
    )
    trace_every: int = Field(20, gt=0, description="steps between rows of the trace")


def rows_of_a_step(settings: Settings, batch_size: int) -> int:
    """Rows that a step rehearses, at most."""
    share = settings.ratio / (1 if settings.budget == "swap" else 1 - settings.ratio)
    return math.ceil(batch_size * share - 1e-9)


def prior_reasons(settings: Settings, prior: PriorFacts, batch_size: int) -> list[str]:
    """Why these settings do not go with a prior task, as far as the study tells."""
    found = []
    if settings.bins in ("aux", "loss_x_aux") and settings.aux not in prior.aux:
        found.append(
            f"`aux: {settings.aux}`, which the rows of the prior set do not have; expected one of "
            f"{', '.join(prior.aux)}. Or name a column under `fields.aux` of the data set"
        )
    if settings.bins == "cluster" and not prior.clusters:
        found.append("`bins: cluster` without clusters of the prior rows; expected `prior.clusters` in the study")
    asked = rows_of_a_step(settings, batch_size)
    if prior.rows is not None and prior.rows < asked:
        found.append(
            f"steps that rehearse {asked} rows, of a pool of {prior.rows}; expected no more than the pool has. "
            "Lower `ratio`, or take a larger pool (`prior.rows`, `prior.pool`)"
        )
    return found
