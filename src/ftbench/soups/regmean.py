"""RegMean: linear layers that answer, on each ingredient's own inputs, as much like that ingredient as one can.

Inputs are collected on `select` rows without their labels; everything that is no linear layer gets the plain mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.soups.base import Decision, Kitchen, Recipe, mean_of

if TYPE_CHECKING:
    import torch

    from ftbench.merging.streaming import Parts, Rule

RIDGE = 1e-10  # of the mean diagonal: inputs that are always zero leave the mean weights as they are


def solved(
    weights: Sequence[torch.Tensor], grams: Iterable[torch.Tensor], off_diagonal: float, transposed: bool
) -> torch.Tensor:
    """(sum_i G_i)^-1 sum_i G_i W_i for W (inputs, outputs), as the difference to the mean of the W_i; float64.

    `grams`: (inputs, inputs), multiplied by `off_diagonal` outside the diagonal; taken one at a time. `transposed`:
    weights are stored as (inputs, outputs) and not as (outputs, inputs).
    """
    import torch

    matrices = [weight if transposed else weight.T for weight in weights]
    mean = torch.zeros(matrices[0].shape, dtype=torch.float64)
    for matrix in matrices:
        mean += matrix
    mean /= len(matrices)
    left = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    right = torch.zeros_like(mean)
    for matrix, gram in zip(matrices, grams, strict=True):
        shrunk = gram.double() * off_diagonal
        shrunk.diagonal().copy_(gram.diagonal())
        left += shrunk
        right.addmm_(shrunk, matrix - mean)
        del shrunk
    left.diagonal().add_(RIDGE * float(left.diagonal().mean()) + 1e-300)
    merged = mean.add_(torch.linalg.solve(left, right))
    return merged if transposed else merged.T


def least_squares(files: Mapping[str, Path], transposed: Mapping[str, bool], off_diagonal: float) -> Rule:
    """The rule: `solved` where all files hold a matrix of the tensor's inputs, the mean elsewhere."""

    def merged(parts: Parts) -> torch.Tensor:
        from ftbench.merging.source import open_ingredient
        from ftbench.merging.streaming import weighted_sum

        tensors = [parts.of(run) for run in files]
        with ExitStack() as stack:
            opened = [stack.enter_context(open_ingredient(file)) for file in files.values()]
            if parts.name not in transposed or any(parts.name not in source.layout for source in opened):
                return weighted_sum(tensors, [1 / len(files)] * len(files), parts.accumulate)
            grams = (source.tensor(parts.name) for source in opened)
            found = solved(tensors, grams, off_diagonal, transposed[parts.name])
            return found.contiguous().to(tensors[0].dtype)

    return merged


class RegMean(Recipe):
    """All candidates."""

    name = "regmean"
    summary = "linear layers merged by least squares on their inputs, the rest averaged"
    paper = "Jin et al. (2023), Dataless knowledge fusion by merging weights of language models"
    reference_code = "bloomberg/dataless-model-merging"
    formula = "W = (sum_i G_i)^-1 sum_i G_i W_i, G = X^T X / n with its off-diagonal entries times a"
    deviations = ("inputs come from the `select` rows, the same for all ingredients; padding does not count",)

    class Config(Strict):
        examples: int = Field(256, ge=1, description="`select` rows used, without their labels")
        off_diagonal: float = Field(0.1, ge=0, le=1, description="a; 1 is plain least squares")
        seed: int = Field(0, ge=0, description="seed of the draw of rows")

    def decide(self, kitchen: Kitchen) -> Decision:
        from ftbench.merging.measuring import input_grams, linear_layers

        runs = [candidate.run_id for candidate in kitchen.candidates]
        if len(runs) == 1:
            return Decision({runs[0]: 1.0})
        laboratory = kitchen.laboratory
        assert laboratory is not None
        rows = laboratory.some_rows(self.config.examples, self.config.seed, "regmean")
        files = {}
        laboratory.work.mkdir(parents=True, exist_ok=True)
        for number, run in enumerate(runs):
            source = laboratory.sources[run]
            laboratory.fill((name, source.tensor(name)) for name in source.layout)
            files[run] = laboratory.work / f"inputs-{number}.safetensors"
            input_grams(laboratory.model, laboratory.batches(rows, 16), files[run])
            print(f"inputs of the linear layers of {run}: {len(rows)} rows", flush=True)
        transposed = {name: stored for name, (_, stored) in linear_layers(laboratory.model).items()}
        laboratory.release()
        rule = least_squares(files, transposed, self.config.off_diagonal)
        return Decision(mean_of(runs), rule=rule, varying=True, details={"examples": len(rows)})
