"""Fisher merging: a mean in which every entry counts as much as an ingredient is sure of it.

The information is estimated on `select` rows without their labels, for one ingredient at a time, and waits on the
disk for the merging.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.soups.base import Decision, Kitchen, Recipe, mean_of

if TYPE_CHECKING:
    import torch

    from ftbench.merging.streaming import Parts, Rule


def precise_mean(files: Mapping[str, Path], floors: Mapping[str, float], norms: Mapping[str, float]) -> Rule:
    """The rule sum_i F_i theta_i / sum_i F_i with F_i = max(F_i / norm_i, floor_i) from files of information.
    Tensors without information, such as buffers, get the plain mean."""

    def merged(parts: Parts) -> torch.Tensor:
        import torch

        from ftbench.merging.source import open_ingredient
        from ftbench.merging.streaming import as_matrix, weighted_sum

        with ExitStack() as stack:
            opened = {run: stack.enter_context(open_ingredient(file)) for run, file in files.items()}
            if any(parts.name not in source.layout for source in opened.values()):
                return weighted_sum([parts.of(run) for run in files], [1 / len(files)] * len(files), parts.accumulate)
            first = parts.of(next(iter(files)))
            found = torch.empty_like(first, memory_format=torch.contiguous_format)
            out = as_matrix(found)
            weights = {run: as_matrix(parts.of(run)) for run in files}
            sure = {run: as_matrix(source.tensor(parts.name)) for run, source in opened.items()}
            for rows in parts.blocks():
                numerator = torch.zeros_like(out[rows], dtype=parts.accumulate)
                denominator = torch.zeros_like(numerator)
                for run in files:
                    information = (sure[run][rows].to(parts.accumulate) / norms[run]).clamp_min(floors[run])
                    numerator.addcmul_(information, weights[run][rows].to(parts.accumulate))
                    denominator.add_(information)
                out[rows] = numerator / denominator
            return found

    return merged


class Fisher(Recipe):
    """All candidates."""

    name = "fisher"
    summary = "a mean weighted by each ingredient's Fisher information"
    paper = "Matena and Raffel (2022), Merging models with Fisher-weighted averaging"
    reference_code = "mmatena/model_merging"
    formula = "theta = sum_i F_i theta_i / sum_i F_i, F = mean_x sum_c p_c (d log p_c / d theta)^2"
    deviations = (
        "the floor holds for every ingredient, so that their order says nothing (`floored: first` has the code's rule)",
        "all ingredients have the same coefficient",
    )

    class Config(Strict):
        examples: int = Field(128, ge=1, description="`select` rows used, without their labels")
        floor: float = Field(1e-6, gt=0, description="smallest information of an entry, after normalisation")
        normalise: bool = Field(True, description="divide each ingredient's information by its L2 norm")
        floored: Literal["all", "first"] = Field("all", description="first: the floor holds for the best run only")
        seed: int = Field(0, ge=0, description="seed of the draw of rows")

    def decide(self, kitchen: Kitchen) -> Decision:
        from ftbench.merging.geometry import dot
        from ftbench.merging.measuring import fisher_diagonal

        runs = [candidate.run_id for candidate in kitchen.candidates]
        if len(runs) == 1:
            return Decision({runs[0]: 1.0})
        laboratory = kitchen.laboratory
        assert laboratory is not None
        rows = laboratory.some_rows(self.config.examples, self.config.seed, "fisher")
        files, norms, floors = {}, {}, {}
        laboratory.work.mkdir(parents=True, exist_ok=True)
        for number, run in enumerate(runs):
            source = laboratory.sources[run]
            laboratory.fill((name, source.tensor(name)) for name in source.layout)
            files[run] = laboratory.work / f"fisher-{number}.safetensors"
            found = fisher_diagonal(laboratory.model, laboratory.batches(rows, 1), laboratory.kind, files[run])
            norms[run] = sum(dot(tensor, tensor) for tensor in found.values()) ** 0.5 if self.config.normalise else 1.0
            norms[run] = norms[run] or 1.0
            floors[run] = self.config.floor if self.config.floored == "all" or number == 0 else 1e-30
            print(f"Fisher information of {run}: {len(rows)} rows, norm {norms[run]:.3g}", flush=True)
        laboratory.release()
        details = {"examples": len(rows), "norms": norms}
        return Decision(mean_of(runs), rule=precise_mean(files, floors, norms), varying=True, details=details)
