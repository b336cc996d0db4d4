"""What a job will need of a machine: memory, time, a GPU. Estimates from the plan alone, before anything ran.

The rules ask the plan for them, and a scheduler's profile turns them into a request. They are generous, grow with
each attempt, and enter no result: a job with other resources is the same job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ftbench.config.model import BuiltIn
from ftbench.config.study import Training
from ftbench.data.near_duplicates import BYTES_A_ROW
from ftbench.data_jobs import PlannedJob
from ftbench.jobs import Jobs
from ftbench.plugins import plugin
from ftbench.rule_functions import with_parameters
from ftbench.stages import adapt, attack, finetune, likelihood, path, shift, transfer, upstream

# those that run a model; `base` where it pretrains one
GPU_STAGES = (
    "base", "upstream", "pretrain_samples", "finetune", "soup", "path", "predict", "shift", "predict_perturbed",
    "attack", "transfer", "embed", "adapt", "likelihood",
)  # fmt: skip
TRAINING_STAGES = ("finetune", "trial")  # those that several processes, and machines, may share
LOCAL_STAGES = ("fetch", "prepare", "split", "tune", "collect", "compare", "report")  # short, or need the network

UNKNOWN_PARAMETERS = 125e6  # of a model whose entry does not say: a base-size encoder
QUERIES = 300  # of an attack on one example, about: its words, and the candidates of some of them
UNKNOWN_ROWS = 100_000  # of a split whose entry does not say
VOCABULARY = 2_000  # of a built-in model, about
RATE = 1e13  # operations a second: an encoder in half precision on a GPU of some years ago, batches of 16
START_SECONDS = 120  # imports, weights from a shared disk, a scheduler's job step
MARGIN = 3.0  # of the time: the scheduler ends a job that asked for too little
PROCESS_MB = 2_500  # Python with torch and the GPU's libraries
CONTEXT_MB = 1_500  # of a process on the GPU, before any weight


@dataclass(frozen=True)
class Requirement:
    """Of one job at its first attempt. `seconds` is the expected time on a GPU, `minutes` what is asked for.

    `gpu` counts those of all machines, one for each process of a training; memory is that of one machine and of
    one GPU.
    """

    memory_mb: int
    minutes: int
    gpu: int
    gpu_memory_mb: int
    seconds: float
    disk_mb: float
    processes: int = 1
    nodes: int = 1


class Requirements:
    """The requirements of the jobs of one study."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        # with the job itself, so that no other one can get its number
        self._known: dict[int, tuple[PlannedJob, Requirement]] = {}

    def resources(
        self, stage: str, job: Callable[[Any], PlannedJob]
    ) -> dict[str, Callable[..., int | str | None] | int]:
        """Resource functions of a rule; `job` gives the planned job for wildcards. What is None is not asked for.

        `at_once` is 1 for every job: a profile that allows one at once runs the cells of an allocation in turn.
        Snakemake calls each function for each job, so what is the same for all jobs of a stage is a number or left out.
        """

        def asked(wildcards: Any) -> Requirement:
            return self.of(job(wildcards))

        def each(wildcards: Any) -> str | None:
            # a total may be spread unevenly over machines
            needed = asked(wildcards)
            return f"gpu:{needed.gpu // needed.nodes}" if needed.gpu and needed.nodes > 1 else None

        def together(wildcards: Any) -> int | None:
            # several GPUs of one run are to be on one machine unless the study says otherwise
            needed = asked(wildcards)
            return needed.nodes if needed.processes > 1 else None

        found: dict[str, Callable[..., int | str | None] | int] = {
            "mem_mb": lambda wildcards, attempt: asked(wildcards).memory_mb * attempt,
            "runtime": lambda wildcards, attempt: asked(wildcards).minutes * attempt,
            "gpu": 0,
            "gpu_memory_mb": 0,
            "at_once": 1,
        }
        if stage in (*GPU_STAGES, *TRAINING_STAGES):
            found["gpu"] = lambda wildcards: asked(wildcards).gpu
            found["gpu_memory_mb"] = lambda wildcards: asked(wildcards).gpu_memory_mb
        if stage in TRAINING_STAGES and self._several_processes:
            found["gpu"] = lambda wildcards: None if each(wildcards) else asked(wildcards).gpu
            found |= {"gres": each, "nodes": together}
        return {name: with_parameters(value) if callable(value) else value for name, value in found.items()}

    @property
    def _several_processes(self) -> bool:
        """Whether any training of the study may be shared by processes."""
        entries = [entry for entry in self.jobs.study.methods.values() if entry]
        own = [given.training for entry in entries for given in (entry, *entry.variants.values())]
        return self.jobs.study.training.processes > 1 or any(given.get("processes", 1) != 1 for given in own)

    def threads(self, job: Callable[[Any], PlannedJob]) -> Callable[[Any], int] | int:
        """One for each process that a training runs on one machine; a profile may set more."""
        if not self._several_processes:
            return 1

        def processes(wildcards: Any) -> int:
            needed = self.of(job(wildcards))
            return needed.processes // needed.nodes

        return with_parameters(processes)

    def of(self, job: PlannedJob) -> Requirement:
        """What one job needs at its first attempt; worked out once for each job."""
        if id(job) not in self._known:
            self._known[id(job)] = job, self._of(job)
        return self._known[id(job)][1]

    def _of(self, job: PlannedJob) -> Requirement:
        model = getattr(job.spec, "model", None) or self._model_of(job)
        parameters = self.parameters(model) if model else 0.0
        weights = 4 * parameters / 1e6  # MB, in single precision
        operations, copies, tokens = self._work(job, parameters)
        processes, nodes = _shared(job)
        seconds = operations / RATE / processes
        gpu = processes * int(job.stage in GPU_STAGES and (job.stage != "base" or self.pretrained_here(model)))
        # rows are held as text and as numbers; a few kilobytes each
        rows_mb = self._rows(job) * 4e-3
        if job.stage == "audit":  # its index of evaluation rows
            rows_mb += self.evaluation_rows(job.cell) * BYTES_A_ROW / 1e6
        return Requirement(
            memory_mb=round(PROCESS_MB + (6 if copies else 3) * weights * bool(gpu) + rows_mb) * (processes // nodes),
            minutes=5 + round(MARGIN * (seconds + START_SECONDS) / 60),
            gpu=gpu,
            gpu_memory_mb=round(CONTEXT_MB + weights * (copies or 1) + _activations_mb(parameters, tokens)) * bool(gpu),
            seconds=seconds,
            disk_mb=weights * (job.stage in ("base", "upstream", "finetune", "soup", "adapt")),
            processes=processes,
            nodes=nodes,
        )

    @cached_property
    def local_stages(self) -> tuple[str, ...]:
        """Stages that run where the workflow runs; `base` too, unless the graph itself pretrains a model."""
        here = any(self.pretrained_here(model) for model in self.jobs.study.models)
        return LOCAL_STAGES if here else (*LOCAL_STAGES, "base")

    def pretrained_here(self, model: str | None) -> bool:
        return bool(model) and self.jobs.catalogue.model(str(model)).built_in is not None

    def parameters(self, model: str) -> float:
        """Weights of a model, from its entry; a guess where that does not say."""
        entry = self.jobs.catalogue.model(model)
        if entry.built_in:
            return _built_in_parameters(entry.built_in)
        return entry.parameters * 1e6 if entry.parameters else UNKNOWN_PARAMETERS

    def _model_of(self, job: PlannedJob) -> str | None:
        artifact = getattr(job.spec, "artifact", None)
        return self.jobs.artifacts[artifact].model if artifact in self.jobs.artifacts else None

    def _work(self, job: PlannedJob, parameters: float) -> tuple[float, int, int]:
        """Operations, copies of the weights on the device (0: none is trained) and tokens of a micro-batch."""
        spec = job.spec
        if isinstance(spec, finetune.Spec):
            rows = spec.train_rows or self.training_rows(spec.task)
            training = spec.training
            cost = [plugin("methods", plug.name).factory.cost for plug in spec.methods]
            relative = 1 + sum((one.forward - 1) + 2 * (one.backward - 1) for one in cost) / 3
            selected = training.evaluations * self.selection_rows(spec.task) * training.max_length
            operations = 6 * parameters * _tokens(training, rows) * max(relative, 1 / 3) + 2 * parameters * selected
            # weights, gradients, two moments; the start and one more for methods that keep their own
            copies = 4 + sum(one.memory != "none" for one in cost)
            rows_at_once = training.batch_size // (training.accumulation * training.processes)
            return operations, copies, rows_at_once * training.max_length
        if isinstance(spec, upstream.Spec):
            operations = 6 * parameters * _tokens(spec.training, spec.rows or UNKNOWN_ROWS)
            return operations, 4, spec.training.batch_size * spec.training.max_length
        if isinstance(spec, adapt.Spec):
            operations = 6 * parameters * _tokens(spec.training, self.training_rows(spec.task))
            return operations, 4, spec.training.batch_size * spec.training.max_length
        if job.stage == "base":
            built_in = self.jobs.catalogue.model(job.cell).built_in
            if built_in is None:
                return 0.0, 0, 0
            tokens = built_in.batch_size * built_in.max_length
            return 6 * parameters * tokens * built_in.steps, 4, tokens
        rows = self._rows(job)
        if isinstance(spec, path.Spec):  # every point of every line, the one from the start to the mean too
            points = spec.points * (spec.pairs + 1)
            return 2 * parameters * rows * spec.max_length * points, 0, 64 * spec.max_length
        if job.stage == "soup":  # a recipe may try every ingredient on the selection rows
            return 2 * parameters * rows * 128 * len(job.inputs), 0, 64 * 128
        if isinstance(spec, shift.Spec):  # a bounded draw of each set, and of the training rows
            rows = spec.rows * (2 + len(self.jobs.study.tasks[spec.task].evaluate))
        length = getattr(spec, "max_length", 0)
        asked = QUERIES if job.stage == "attack" else 1
        if isinstance(spec, likelihood.Spec):  # two models, and a pass for each token that is hidden
            hidden = spec.objective == "masked" and spec.pll == "exact"
            asked = 2 * (min(length, spec.tokens or length) if hidden else 1)
        return 2 * parameters * rows * length * asked, 0, 64 * length

    def _rows(self, job: PlannedJob) -> int:
        """Rows that a job holds in memory."""
        spec, artifacts = job.spec, self.jobs.artifacts
        if job.stage in ("fetch", "prepare"):
            entry = self.jobs.catalogue.dataset(job.cell)
            return sum(split.rows or split.local_rows or 10_000 for split in entry.splits.values())
        if job.stage in ("split", "audit", "shift", "finetune", "adapt"):
            task = str(getattr(spec, "task", ""))
            return self.training_rows(task) + (self.evaluation_rows(task) if job.stage in ("audit", "shift") else 0)
        if job.stage == "soup":
            return self.selection_rows(str(getattr(spec, "task", "")))
        if isinstance(spec, path.Spec):
            return spec.rows * max(1, len(spec.sets)) if spec.rows else self.evaluation_rows(spec.task)
        if job.stage == "embed":
            return self.training_rows(artifacts[job.cell].task) + self.evaluation_rows(artifacts[job.cell].task)
        if job.stage in ("detect", "likelihood"):
            return self.evaluation_rows(str(getattr(spec, "task", "")))
        if job.stage in ("predict", "ensemble", "score"):
            return self.evaluation_rows(artifacts[job.cell].task)
        if job.stage in ("predict_perturbed", "score_perturbed"):
            return self.perturbed_rows(artifacts[job.cell].task)
        if isinstance(spec, attack.Spec):
            whole = self.evaluation_rows(artifacts[spec.artifact].task)
            return -(-min(whole, (spec.rows or whole) * len(spec.sets)) // spec.shards)
        if isinstance(spec, transfer.Spec):  # at most every attacked row of every source
            most = {name: entry.rows or UNKNOWN_ROWS for name, entry in self.jobs.study.attacks.items()}
            return sum(most[source.attack] for source in spec.sources)
        if job.stage in ("upstream", "pretrain_samples"):
            return getattr(spec, "rows", None) or UNKNOWN_ROWS
        return 0

    def training_rows(self, task: str) -> int:
        wanted = self.jobs.study.tasks[task].train
        return wanted.rows or self._split_rows(wanted.dataset, wanted.split)

    def selection_rows(self, task: str) -> int:
        return self.jobs.study.tasks[task].select.rows or 500

    def evaluation_rows(self, task: str) -> int:
        """Rows of all evaluation sets of a task and of its prior set."""
        sets = self.jobs.study.tasks[task].evaluate.values()
        rows = sum(item.rows or self._split_rows(item.dataset, item.split) for item in sets)
        prior = self.jobs.study.prior
        return rows + self.selection_rows(task) + (self._split_rows(prior.dataset, prior.evaluation) if prior else 0)

    def perturbed_rows(self, task: str) -> int:
        """Rows that the perturbations of a study make of a task's evaluation sets."""
        sets, rows = self.jobs.study.tasks[task].evaluate, 0
        for entry in self.jobs.study.perturbations.values():
            for name in self.jobs.resolver.perturbed_sets(task, entry):
                whole = sets[name].rows or self._split_rows(sets[name].dataset, sets[name].split)
                rows += min(entry.rows or whole, whole) * len(entry.strengths) * len(entry.seeds)
        return rows

    def _split_rows(self, dataset: str, split: str) -> int:
        entry = self.jobs.catalogue.dataset(dataset)
        found = entry.splits.get(split)
        if entry.generated:
            return int(entry.generated.settings.get(f"{split}_rows", 5_000))
        return (found and (found.rows or found.local_rows)) or UNKNOWN_ROWS


def _shared(job: PlannedJob) -> tuple[int, int]:
    """Processes that run a job together, and machines that they are spread over."""
    training = job.spec.training if isinstance(job.spec, finetune.Spec) else None
    return (training.processes, training.nodes) if training else (1, 1)


def _tokens(training: Training, rows: int) -> float:
    """Tokens of a whole training, at most."""
    seen = training.steps * training.batch_size if training.steps else training.epochs * rows
    return float(seen * training.max_length)


def _built_in_parameters(settings: BuiltIn) -> float:
    width, inner = settings.hidden_size, settings.intermediate_size
    return VOCABULARY * width + settings.layers * (4 * width * width + 2 * width * inner) + 2 * width * width


def _activations_mb(parameters: float, tokens: int) -> float:
    """Activations of a pass over `tokens` in half precision: about 34 bytes a token, layer and unit of width.

    Layers times width grow with the two-thirds power of the weights, from the 12 times 768 of a base-size encoder.
    """
    return float(34 * 9_216 * (parameters / 85e6) ** (2 / 3) * tokens / 1e6)
