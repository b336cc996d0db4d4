"""DSEE: a low-rank sum with a few free entries beside frozen query and value matrices, and pruning of the rest.

Paper: Chen et al. (2023), DSEE: Dually Sparsity-Embedded Efficient Tuning of Pre-trained Language Models. Reference
code: VITA-Group/DSEE @ 61844c3.
Formula: y = W x + (alpha/r) (B A + S) x, S zero outside the N largest entries of the sparse part of W. With
`prune_share` q, a second phase begins by setting the share q of all block weights to zero, then trains A, B, S again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.errors import FtbenchError
from ftbench.methods.base import Cost
from ftbench.training.adapter_method import AdapterMethod
from ftbench.training.insertion import insertion_sites

if TYPE_CHECKING:
    import torch

    from ftbench.methods.base import Context

KEPT = "kept"  # buffer of a linear layer that may be pruned: one bit for each weight


class Dsee(AdapterMethod):
    """Low-rank and sparse updates of query and value; weights to prune are ranked by magnitude or by update."""

    name = "dsee"
    summary = "low-rank and sparse updates of frozen query and value matrices, with pruning"
    paper = "Chen et al. (2023), DSEE: Dually Sparsity-Embedded Efficient Tuning of Pre-trained Language Models"
    reference_code = "VITA-Group/DSEE @ 61844c3"
    formula = "y = W x + (alpha/r) (B A + S) x; A ~ N(0, 0.02), B = S = 0; S on the N largest of the sparse part of W"
    deviations = (
        "the scale alpha/r multiplies B A and S in every ranking (the released code leaves it off B A in one)",
        "for narrow matrices, whose low-rank part would take in everything, places come from the last round with "
        "enough sparse entries",
        "where one matrix computes query, key and value (GPT-2, ModernBERT), the update goes beside all of it",
        "pruning of whole attention heads is not offered",
        "the last checkpoint, or the best where the study keeps it (the paper: the best)",
    )
    cost = Cost(
        forward=1.0,
        backward=0.0,
        frozen_backward=1.0,
        memory="optimiser state of the updates and the head only; one bit per pruned weight",
    )
    search = {
        "settings.rank": (8, 16),
        "settings.entries": (16, 64),
        "training.learning_rate": (2e-4, 5e-4, 6e-4),
    }

    class Config(AdapterMethod.Config):
        rank: int = Field(16, gt=0, description="r: rank of the low-rank part")
        alpha: float = Field(32.0, gt=0, description="the update is scaled by alpha / r")
        entries: int = Field(16, ge=0, description="N: free entries of the sparse part of each matrix")
        rounds: int = Field(100, gt=0, description="rounds of the split that finds their places; more cost more once")
        prune_share: float = Field(0.0, ge=0, lt=1, description="q: share of the blocks' weights set to zero; 0: none")
        prune_by: Literal["update", "sum"] = Field(
            "update", description="query and value entries are ranked by |update|, or by |weight + update|"
        )
        retrain_share: float = Field(0.5, gt=0, lt=1, description="share of the steps behind the pruning")

    def _updated(self, model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
        from ftbench.training.sparse_low_rank import SparseLowRank

        for name, module in model.named_modules():
            if isinstance(module._modules.get("update"), SparseLowRank):
                yield name, module

    def attach(self, context: Context) -> None:
        import torch

        from ftbench.training.sparse_low_rank import add_update, packed

        model, asked = context.model, self.config
        sites = insertion_sites(model)
        for name in dict.fromkeys(name for site in sites for name in (site.query, site.value)):
            add_update(model.get_submodule(name), asked.rank, asked.entries, asked.alpha / asked.rank)
        if asked.prune_share:
            for site in sites:
                ends = (site.attention.linear, *site.feed_forward_inputs, site.feed_forward.linear)
                for name in dict.fromkeys((site.query, site.key, site.value, *ends)):
                    linear = model.get_submodule(name)
                    everything = torch.ones_like(linear.weight, dtype=torch.bool)  # type: ignore[arg-type]
                    linear.register_buffer(KEPT, packed(everything))

    @classmethod
    def check_steps(cls, config: Any, steps: int, per_epoch: int | None) -> list[str]:
        if not config.prune_share or steps >= 2:
            return []
        return [
            f"`prune_share: {config.prune_share}` in a run of {steps} step, of which none is left behind the pruning; "
            "expected at least 2 steps, or `prune_share: 0`"
        ]

    def phases(self, steps: int) -> list[int]:
        """One before the pruning and one behind it; a run too short for both raises an `FtbenchError`."""
        for reason in self.check_steps(self.config, steps, None):
            raise FtbenchError(f"`{self.name}`: found {reason}")
        if not self.config.prune_share:
            return [steps]
        again = min(steps - 1, max(1, round(steps * self.config.retrain_share)))
        return [steps - again, again]

    def prologue(self, context: Context) -> None:
        from ftbench.training.seeds import torch_generator
        from ftbench.training.sparse_low_rank import oriented, sparse_places

        if context.phase:
            self._prune(context.model)
            return
        for name, linear in self._updated(context.model):
            update = linear.get_submodule("update")
            places = update.get_buffer("places")
            if len(places):
                generator = torch_generator(context.init_seed, "dsee", name)
                found = sparse_places(oriented(linear), len(places), self.config.rounds, generator)
                places.copy_(found)

    def _prune(self, model: torch.nn.Module) -> None:
        import torch

        from ftbench.training.masks import largest
        from ftbench.training.sparse_low_rank import oriented, packed

        updates = {name: linear.get_submodule("update") for name, linear in self._updated(model)}
        scores: dict[str, torch.Tensor] = {}
        for name, linear in model.named_modules():
            if KEPT not in linear._buffers:
                continue
            score = oriented(linear)
            if name in updates:
                delta = updates[name].matrix()  # type: ignore[operator]
                score = score + delta if self.config.prune_by == "sum" else delta
            # in the layout of the stored weight
            scores[name] = (score if isinstance(linear, torch.nn.Linear) else score.T).abs()
        together = torch.cat([score.reshape(-1) for score in scores.values()])
        kept = largest(together, len(together) - int(self.config.prune_share * len(together)))
        parts = torch.split(kept, [score.numel() for score in scores.values()])
        for (name, score), part in zip(scores.items(), parts, strict=True):
            model.get_submodule(name).get_buffer(KEPT).copy_(packed(part.reshape(score.shape)))
        self.loaded(model)

    def loaded(self, model: torch.nn.Module) -> None:
        """Set pruned weights to zero."""
        from ftbench.training.sparse_low_rank import unpacked

        for linear in model.modules():
            if KEPT in linear._buffers:
                weight: torch.Tensor = linear.weight.detach()  # type: ignore[operator]
                weight.mul_(unpacked(linear.get_buffer(KEPT), weight.shape))

    def merge(self, model: torch.nn.Module) -> None:
        """W <- W + (alpha/r) (B A + S), exact up to rounding; pruned weights of updated matrices are no longer zero."""
        from ftbench.training.sparse_low_rank import fold_update

        for _, linear in list(self._updated(model)):
            fold_update(linear)
        for linear in model.modules():
            linear._buffers.pop(KEPT, None)
