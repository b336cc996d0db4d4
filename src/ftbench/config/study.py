"""The type of a study (`config/studies/*.yaml`): what is compared, on what, and how it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ftbench.config.attack import AttackEntry
from ftbench.config.dataset import MapRule
from ftbench.config.detection import Detection
from ftbench.config.families import EnsembleEntry, Family, PathEntry, SoupEntry
from ftbench.config.perturbations import PerturbationEntry
from ftbench.config.prior import Prior
from ftbench.config.shift import Robustness, Shift
from ftbench.config.strict import Name, Strict


class Training(Strict):
    """Settings of the training loop that every method shares unless it overrides them."""

    epochs: float = Field(3.0, gt=0, description="passes over the training rows; ignored when `steps` is given")
    steps: int | None = Field(None, gt=0, description="optimiser steps instead of epochs")
    # which rows a run is trained on is a setting of its own in the spec
    rows: int | None = Field(
        None, gt=0, exclude=True,
        description="training rows of the task that each seed draws, stratified, the same for every method; those of a"
        " smaller number are among those of a larger; null: all, or as `train.subset` says",
    )  # fmt: skip
    batch_size: int = Field(16, gt=0, description="rows per optimiser step; what a step learns from")
    accumulation: int = Field(1, gt=0, description="micro-batches per step; more needs less memory, same result")
    learning_rate: float = Field(2e-5, gt=0, description="highest rate of the schedule")
    weight_decay: float = Field(0.01, ge=0, description="decoupled; never on biases and layer norms")
    betas: tuple[float, float] = Field((0.9, 0.999), description="decay of the two moments of AdamW")
    epsilon: float = Field(1e-8, gt=0, description="added to the root of the second moment")
    warmup_share: float = Field(0.1, ge=0, lt=1, description="share of the steps with rising rate")
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="decay after the warm-up")
    clip_norm: float | None = Field(1.0, gt=0, description="bound of the total gradient norm; null: no clipping")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 on a GPU that has it, else fp32; bf16 on a CPU only when asked for"
    )
    processes: int = Field(1, gt=0, le=64, description="processes that share one fine-tuning, each with its own GPU")
    # where processes run changes no result: not part of any spec
    nodes: int = Field(
        1, gt=0, le=64, exclude=True,
        description="machines that SLURM spreads `processes` over, evenly; elsewhere all run on one; enters no result",
    )  # fmt: skip
    grouping: Literal["length", "none"] = Field(
        "length",
        description="length: batches of similar length, far fewer padding tokens; none: plain shuffling",
    )
    max_length: int = Field(128, gt=0, description="tokens kept per example")
    evaluations: int = Field(1, ge=0, description="evaluations on `select` spread over the run, the last at its end")
    keep: Literal["last", "best"] = Field("last", description="best: highest select score, the earliest on ties")
    dropout: float | None = Field(None, ge=0, lt=1, description="dropout of the model; null: as the model has it")

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.batch_size % self.accumulation:
            raise ValueError("`batch_size` that `accumulation` divides")
        if self.batch_size < self.accumulation * self.processes:
            raise ValueError("`batch_size` of at least `accumulation` times `processes`: a row for each of them")
        if self.processes % self.nodes:
            raise ValueError("`processes` that `nodes` divides: as many on each machine")
        if self.keep == "best" and self.evaluations == 0:
            raise ValueError("`evaluations` of at least 1 with `keep: best`")
        return self


class TrainSet(Strict):
    """What a task is trained on."""

    dataset: Name = Field(description="name of a data-set entry")
    split: Name = Field("train", description="split that is trained on")
    rows: int | None = Field(None, gt=0, description="stratified subset of this size; null: all rows")
    subset: Literal["fixed", "per_seed"] = Field(
        "fixed", description="per_seed: each seed draws its own subset (the protocol of the DPS paper)"
    )


class SelectSet(Strict):
    """What early stopping and soups may look at: cut from the training rows, or a split of its own."""

    rows: int | None = Field(None, gt=0, description="rows cut from training; null: 500, at least 2 % and at most 10 %")
    split: Name | None = Field(None, description="a split of the training data set instead of a cut")
    metric: Name | None = Field(None, description="metric of the selection; null: accuracy, or Spearman")


class EvaluationSet(Strict):
    """A set that artifacts are predicted on."""

    dataset: Name = Field(description="name of a data-set entry")
    split: Name = Field("test", description="split that is predicted")
    role: Literal["id", "ood", "stress"] = Field(
        description="id: like training; ood: shifted; stress: built to mislead"
    )
    rows: int | None = Field(None, gt=0, description="fixed stratified subset of this size; null: all rows")
    rule: MapRule | None = Field(None, description="overrides the rule of the data set's label map")
    labelled: bool = Field(
        True,
        description="false: no row has a label of the task (out of scope, another task, plain text): predicted and used"
        " to detect, never scored against a label; role `ood`",
    )


class Task(Strict):
    """One task: training rows, selection rows, evaluation sets, metrics."""

    train: TrainSet
    select: SelectSet = SelectSet()
    evaluate: dict[Name, EvaluationSet] = Field(min_length=1)
    metrics: list[Name] = Field(default_factory=list, description="the first one leads; empty: by kind of task")


class AbsentTask(Strict):
    """A task that a study is about and cannot run."""

    datasets: list[Name] = Field(min_length=1, description="names of its data-set entries")
    reason: str = Field(min_length=1, description="why it is not run, for table `missing`")


class Variant(Strict):
    """One setting of a method: values of its own configuration, and overrides of the training settings."""

    settings: dict[str, Any] = Field(default_factory=dict, description="values of the method's own configuration")
    training: dict[str, Any] = Field(default_factory=dict, description="overrides of the study's training settings")


class MethodEntry(Variant):
    """One method of a study under the name that the tables show."""

    use: list[Name] | None = Field(None, description="plug-ins to compose, in order; null: the one of this name")
    variants: dict[Name, Variant] = Field(default_factory=dict, description="several settings of one method")


class Tuning(Strict):
    """One budget of settings for every method; the `select` rows alone choose, before any test set is predicted."""

    n_variants: int = Field(gt=1, le=200, description="settings tried for each method")
    draw: Literal["random", "grid"] = Field(
        "random", description="random: distinct draws, paired over methods; grid: all, which must not be more"
    )
    seed: int = Field(0, ge=0, description="seed of the draws; a key of two methods is drawn alike")
    seeds: list[int] = Field([0], min_length=1, description="runs of each setting; their mean select score decides")
    space: dict[str, list[Any]] = Field(
        default_factory=dict, description="`training.KEY` to values, for every method that does not name the key"
    )
    spaces: dict[Name, dict[str, list[Any]]] = Field(
        default_factory=dict,
        description="by method: `settings.KEY` or `training.KEY` to values, instead of the grid it declares",
    )
    methods: list[Name] | None = Field(None, description="null: every method of the study")


class Statistics(Strict):
    """How methods are compared, and which claims are adjusted together."""

    family: Literal["metric", "set", "study"] = Field(
        "metric",
        description="claims adjusted together: of one task, model and metric; of one set of these; of the whole study",
    )
    adjustment: Literal["holm", "bh"] = Field(
        "holm", description="holm: chance of any false claim at 5 %; bh: expected share of false claims at 5 %"
    )
    pairs: bool | None = Field(
        None, description="compare every two methods too; null: with at most 50 methods and variants, as pairs are many"
    )
    resamples: int = Field(10_000, ge=100, description="bootstrap resamples of seeds and examples; more cost time")


class Study(Strict):
    """A study: tasks x models x methods x variants x seeds, with soups and evaluations."""

    title: str = Field("", description="one line for lists and reports")
    description: str = Field("", description="what the study is about, for readers")
    seeds: list[int] = Field(min_length=1, description="one run for each; the same seed pairs the methods")
    init: Literal["shared", "per_seed"] = Field(
        "per_seed", description="start of new weights: one for all seeds (soups need it), or one per seed"
    )
    tasks: dict[Name, Task] = Field(min_length=1)
    models: list[Name] = Field(min_length=1, description="names of model entries")
    methods: dict[Name, MethodEntry | None] = Field(min_length=1)
    baseline: Name | None = Field(None, description="method the others are compared with; null: vanilla if present")
    training: Training = Training()
    statistics: Statistics = Statistics()
    shift: Shift = Shift()
    robustness: Robustness = Robustness()
    prior: Prior | None = None
    tuning: Tuning | None = None
    soups: dict[Name, SoupEntry] = Field(default_factory=dict)
    ensembles: dict[Name, EnsembleEntry] = Field(default_factory=dict)
    paths: dict[Name, PathEntry] = Field(default_factory=dict)
    absent_tasks: dict[Name, AbsentTask] = Field(
        default_factory=dict, description="tasks that belong here and are not run: table `missing` names them"
    )
    perturbations: dict[Name, PerturbationEntry] = Field(
        default_factory=dict, description="edits of evaluation texts under which runs and soups are scored again"
    )
    attacks: dict[Name, AttackEntry] = Field(default_factory=dict)
    detection: Detection | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("every seed once under `seeds`")
        if any(seed < 0 for seed in self.seeds):
            raise ValueError("seeds of 0 or more under `seeds`")
        if len(set(self.models)) != len(self.models):
            raise ValueError("every model once under `models`")
        if (self.soups or self.paths) and self.init != "shared":
            raise ValueError(
                "`init: shared` with soups and paths: averages of models whose new weights start differently are void"
            )
        for key, name, family in self.families():
            for method in family.methods or []:
                if method not in self.methods:
                    raise ValueError(f"`{key}.{name}.methods` out of the study's methods; `{method}` is none")
        for method in [*(self.tuning.methods or []), *self.tuning.spaces] if self.tuning else []:
            if method not in self.methods:
                raise ValueError(f"methods of the study under `tuning`; `{method}` is none")
        for method in self.methods:
            if self.tunes(method) and self.entry(method).variants:
                raise ValueError(
                    f"either `methods.{method}.variants` or `tuning` of `{method}`; "
                    f"values to choose from go under `tuning.spaces.{method}`"
                )
        if self.baseline is not None and self.baseline not in self.methods:
            raise ValueError(f"`baseline` out of the study's methods {sorted(self.methods)}")
        for name, task in self.tasks.items():
            if set(task.evaluate) & {"train", "select"}:
                raise ValueError(f"names other than `train` and `select` under `tasks.{name}.evaluate`")
            for eval_set, item in task.evaluate.items():
                if not item.labelled and item.role != "ood":
                    raise ValueError(f"`role: ood` under `tasks.{name}.evaluate.{eval_set}`, whose rows have no label")
            if all(not item.labelled for item in task.evaluate.values()):
                raise ValueError(f"at least one labelled set under `tasks.{name}.evaluate`")
            if self.prior and self.prior.name in task.evaluate:
                raise ValueError(f"a name other than the prior's (`{self.prior.name}`) under `tasks.{name}.evaluate`")
        return self

    def families(self) -> Iterator[tuple[str, str, Family]]:
        """Every entry that names a family of runs: the key it stands under, its name, and itself."""
        for key, entries in (("soups", self.soups), ("ensembles", self.ensembles), ("paths", self.paths)):
            yield from ((key, name, entry) for name, entry in entries.items())

    @property
    def reference(self) -> str | None:
        """The method that the others are compared with."""
        return self.baseline or ("vanilla" if "vanilla" in self.methods else None)

    def tunes(self, method: str) -> bool:
        """Whether settings are chosen for this method before its runs."""
        return self.tuning is not None and (self.tuning.methods is None or method in self.tuning.methods)

    def entry(self, method: str) -> MethodEntry:
        """The entry of a method; an empty one in the file means `as it comes`."""
        return self.methods[method] or MethodEntry()

    def variants(self, method: str) -> dict[str, Variant]:
        """The variants of a method, merged with the entry they stand in; `default` where none is named, and
        `tuned` where settings are chosen first."""
        entry = self.entry(method)
        named = entry.variants or {"tuned" if self.tunes(method) else "default": Variant()}
        return {
            name: Variant(
                settings={**entry.settings, **variant.settings},
                training={**entry.training, **variant.training},
            )
            for name, variant in named.items()
        }
