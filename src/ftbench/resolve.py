"""From a study and the catalogue to resolved settings: label spaces, merged training settings, data sources.

The plan builds specs from what is resolved here; the checks call the same functions, so that what passes a
check is what runs.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from ftbench.config.dataset import DatasetEntry, LabelMap
from ftbench.config.errors import FtbenchError
from ftbench.config.load import Catalogue
from ftbench.config.perturbations import PerturbationEntry
from ftbench.config.strict import validated
from ftbench.config.study import Study, Training, Variant
from ftbench.language_cells import language_models
from ftbench.metrics.base import DEFAULTS
from ftbench.plugins import plugin
from ftbench.soups.judging import PriorHead
from ftbench.stages import audit, fetch, finetune, prepare, pretrain_samples
from ftbench.stages.prior_pool import PriorInputs
from ftbench.tuning import trials


class Resolver:
    """Resolved settings of one study; unknown names raise an `FtbenchError`."""

    def __init__(self, study: Study, catalogue: Catalogue) -> None:
        self.study, self.catalogue = study, catalogue
        self.method = cache(self._method)
        self.tried = cache(self.trials)

    @property
    def prior_entry(self) -> DatasetEntry | None:
        return self.catalogue.dataset(self.study.prior.dataset) if self.study.prior else None

    @property
    def encoder(self) -> str:
        """The model whose embeddings tell how far evaluation sets are from training."""
        return self.study.shift.encoder or self.study.models[0]

    def models(self) -> list[str]:
        """Every model that the study reads, each once."""
        found = [*self.study.models, self.encoder]
        found += [cell.model for cell in language_models(self.study)]
        for name in self.study.attacks:  # an attack that is not valid is told of elsewhere
            with suppress(FtbenchError):
                use, config = self.attack(name)
                factory = plugin("attacks", use).factory
                named = factory.models(factory.Config.model_validate(config))
                found += [model for model in named if model in self.catalogue.models]
        return list(dict.fromkeys(found))

    def datasets(self) -> list[str]:
        """Every data set that the study reads, each once."""
        names = [task.train.dataset for task in self.study.tasks.values()]
        names += [item.dataset for task in self.study.tasks.values() for item in task.evaluate.values()]
        if self.study.prior:
            names.append(self.study.prior.dataset)
        entries = [self.catalogue.model(model) for model in self.models()]
        names += [entry.built_in.corpus for entry in entries if entry.built_in]
        return list(dict.fromkeys(names))

    def attack(self, name: str) -> tuple[str, dict[str, Any]]:
        """Plug-in and resolved settings of an attack of the study."""
        entry = self.study.attacks[name]
        use = entry.use or name
        config = validated(plugin("attacks", use).factory.Config, entry.settings, "study", f"attacks.{name}.settings")
        return use, config.model_dump(mode="json")

    def space(self, task: str) -> tuple[str, list[str]]:
        """Kind and labels of a task: those of its training data, in the entry's order."""
        entry = self.catalogue.dataset(self.study.tasks[task].train.dataset)
        return entry.kind, list(entry.labels)

    def select_metric(self, task: str) -> str:
        from ftbench.metrics.selection import default_metric

        return self.study.tasks[task].select.metric or default_metric(self.space(task)[0])

    def metrics(self, task: str) -> list[str]:
        return self.study.tasks[task].metrics or self.default_metrics(task)

    def default_metrics(self, task: str) -> list[str]:
        return list(DEFAULTS[self.space(task)[0]])

    def training(self, overrides: dict[str, Any], key: str) -> Training:
        """The study's training settings with overrides; the result is checked as a whole."""
        if "steps" in overrides and "epochs" in overrides:
            raise FtbenchError(f"key `{key}`: found both `steps` and `epochs`; expected one of them")
        shared = dict(self.study.training)  # `nodes` and `rows` too, which are in no dump
        if "epochs" in overrides:  # the study's `steps` would win over them
            shared["steps"] = None
        return validated(Training, {**shared, **overrides}, "study", key)

    def prior_training(self) -> Training:
        assert self.study.prior is not None
        # a prior task is trained to its end and not selected: it has no `select` rows
        own = {"evaluations": 0, "keep": "last", **self.study.prior.training}
        return self.training(own, "prior.training")

    def language_training(self) -> Training:
        """How a language model is trained on a task's texts: to its end, as nothing selects among its states."""
        wanted = self.study.detection and self.study.detection.likelihood
        own = {**(wanted.training if wanted else {}), "evaluations": 0, "keep": "last", "processes": 1, "nodes": 1}
        return self.training(own, "detection.likelihood.training")

    def prior_width(self) -> float | None:
        """How far off a prediction of a prior regression may be and count as right, in the score's unit."""
        entry, prior = self.prior_entry, self.study.prior
        if entry is None or prior is None or entry.range is None:
            return None
        return prior.tolerance * (entry.range[1] - entry.range[0])

    @property
    def prior_is_text(self) -> bool:
        """Whether the prior task is plain text, which the base model itself was trained on."""
        return self.prior_entry is not None and self.prior_entry.kind == "text"

    @property
    def prior_kind(self) -> str | None:
        """What the prior task asks for: classification, regression, or the objective of a language model."""
        entry, prior = self.prior_entry, self.study.prior
        if entry is None or prior is None:
            return None
        return prior.objective if entry.kind == "text" else entry.kind

    def pretrain_samples(self, prior: str, model: str) -> pretrain_samples.Spec:
        """Spec of `pretrain_samples`, which reads the prior rows as they were trained on."""
        wanted, entry, training = self.study.prior, self.prior_entry, self.prior_training()
        assert wanted is not None
        assert entry is not None
        return pretrain_samples.Spec(
            prior=prior,
            model=model,
            kind=str(self.prior_kind),
            words=wanted.words,
            labels=list(entry.labels),
            pool=wanted.pool,
            evaluation=wanted.evaluation,
            rows=wanted.rows,
            max_length=training.max_length,
            precision="fp32" if training.precision == "fp16" else training.precision,
            width=self.prior_width(),
            clusters=wanted.clusters,
        )

    def prior_head(self, sets: list[str]) -> PriorHead | None:
        """How the prior task's rows are read on a path; None where they are not among its sets."""
        prior, entry = self.study.prior, self.prior_entry
        if prior is None or entry is None or prior.name not in sets:
            return None
        return PriorHead(
            kind=entry.kind,
            labels=list(entry.labels),
            shared=prior.head == "shared",
            max_length=self.prior_training().max_length,
            metric=DEFAULTS[entry.kind][0],
        )

    def prior_inputs(self, plugs: list[finetune.Plug]) -> PriorInputs | None:
        """The prior task for a run of these plug-ins; None where none of them wants it."""
        wanted = False
        for plug in plugs:
            factory = plugin("methods", plug.name).factory
            wanted |= bool(factory.wants_prior(factory.Config.model_validate(plug.config)))
        prior, entry = self.study.prior, self.prior_entry
        if not wanted or prior is None or entry is None:
            return None
        return PriorInputs(
            name=prior.name,
            kind=str(self.prior_kind),
            words=prior.words,
            labels=list(entry.labels),
            shared=prior.head == "shared",
            max_length=self.prior_training().max_length,
            width=self.prior_width(),
        )

    def _method(self, task: str, method: str, variant: str) -> tuple[list[finetune.Plug], Training]:
        """Plug-ins with resolved settings, and training settings, of one variant of a method."""
        return self._resolved(method, self.study.variants(method)[variant])

    def trials(self, method: str) -> dict[str, finetune.Setting]:
        """The settings among which a tuned method's runs take the best, by trial."""
        found = {}
        for name, variant in trials(self.study, method).items():
            plugs, training = self._resolved(method, variant)
            found[name] = finetune.Setting(methods=plugs, training=training)
        return found

    def _resolved(self, method: str, chosen: Variant) -> tuple[list[finetune.Plug], Training]:
        names = self.study.entry(method).use or [method]
        key = f"methods.{method}"
        plugs = []
        for name in names:
            factory = plugin("methods", name).factory
            # composed methods have their settings under their names, a single one has them directly
            settings, own = (chosen.settings.get(name, {}), f".{name}") if len(names) > 1 else (chosen.settings, "")
            config = validated(factory.Config, settings, "study", f"{key}.settings{own}")
            plugs.append(finetune.Plug(name=name, config=config.model_dump(mode="json")))
        return plugs, self.training(chosen.training, f"{key}.training")

    def readers(self, task: str, method: str, variant: str) -> tuple[str, ...]:
        """Modules of the methods without which the saved weights of a run cannot be read."""
        found = [plugin("methods", plug.name) for plug in self.method(task, method, variant)[0]]
        return tuple(plug.module for plug in found if plug.factory.saves != "model")

    def fetch(self, dataset: str, local_root: Path | None) -> tuple[fetch.Spec, dict[str, Path]]:
        """Spec of `fetch` and its local files by split: the copy under `data_root` goes before the hub."""
        entry = self.catalogue.dataset(dataset)
        files = {} if entry.generated else self.local_files(dataset, local_root)
        local = entry.local if files else None
        spec = fetch.Spec(
            dataset=dataset,
            hub=None if files else entry.hub,
            generated=entry.generated,
            local=sorted(files),
            splits={} if files else {name: split.source for name, split in entry.splits.items() if split.source},
            fields=(local and local.fields) or entry.fields,
            label=(local and local.label) or entry.label,
            access=entry.access,
        )
        return spec, files

    def local_files(self, dataset: str, local_root: Path | None) -> dict[str, Path]:
        """Files of a data set under `data_root`, by our split name."""
        if local_root is None:
            return {}
        entry = self.catalogue.dataset(dataset)
        folder = local_root / (entry.local.folder if entry.local and entry.local.folder else dataset)
        renamed = entry.local.splits if entry.local else {}
        files = {split: folder / f"{renamed.get(split, split)}.parquet" for split in entry.splits}
        return {split: file for split, file in files.items() if file.is_file()}

    def prepare(self, dataset: str, local_root: Path | None) -> prepare.Spec:
        entry = self.catalogue.dataset(dataset)
        local = entry.local if self.local_files(dataset, local_root) else None
        rows = {
            name: [count for count in (split.rows, split.local_rows) if count is not None]
            for name, split in entry.splits.items()
        }
        return prepare.Spec(
            dataset=dataset,
            kind=entry.kind,
            labels=(local and local.labels) or entry.labels,
            range=entry.range,
            unlabelled=entry.unlabelled,
            out_of_scope=entry.out_of_scope,
            outside=entry.outside,
            rows={name: counts for name, counts in rows.items() if counts},
        )

    def perturbed_sets(self, task: str, entry: PerturbationEntry) -> list[str]:
        """The sets of a task that a perturbation edits; those that it names, or all in-domain and shifted ones."""
        sets = self.study.tasks[task].evaluate
        if entry.sets is None:
            return [name for name, item in sets.items() if item.role in ("id", "ood") and item.labelled]
        return [name for name in entry.sets if name in sets]

    def audit(self, task: str) -> audit.Spec:
        kind, labels = self.space(task)
        sets = {}
        for name, wanted in self.study.tasks[task].evaluate.items():
            entry = self.catalogue.dataset(wanted.dataset)
            mapping = entry.map_from(labels) if set(entry.labels) != set(labels) else None
            if mapping and wanted.rule:
                mapping = LabelMap(rule=wanted.rule, to=mapping.to)
            sets[name] = audit.SetSpec(
                dataset=wanted.dataset,
                split=wanted.split,
                role=wanted.role,
                kind=entry.kind if wanted.labelled else kind,
                labels=list(entry.labels) if wanted.labelled else labels,  # predictions are read in the task's own
                rows=wanted.rows,
                map=mapping if wanted.labelled else None,
                labelled=wanted.labelled,
            )
        prior, entry_of_prior = self.study.prior, self.prior_entry
        if prior and entry_of_prior:
            sets[prior.name] = audit.SetSpec(
                dataset=prior.dataset,
                split=prior.evaluation,
                role="prior",
                rows=prior.evaluation_rows,
                kind=entry_of_prior.kind,
                labels=list(entry_of_prior.labels),
            )
        return audit.Spec(
            task=task,
            kind=kind,
            labels=labels,
            sets=sets,
            prior_labels=list(entry_of_prior.labels) if entry_of_prior else None,
            prior_pool=prior.pool if prior else None,
        )
