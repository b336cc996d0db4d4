"""The jobs that tell rows from outside the task: features of artifacts and scores of detection."""

from __future__ import annotations

from abc import abstractmethod

from ftbench import matrix
from ftbench.attack_jobs import AttackJobs
from ftbench.config.detection import Detection, Likelihood
from ftbench.config.study import Training
from ftbench.data_jobs import PlannedJob
from ftbench.language_cells import LanguageModel, language_models
from ftbench.stages import adapt, detect, embed, likelihood


class DetectionJobs(AttackJobs):
    """Builds the jobs of `detection`; a study without that key has none of them."""

    @abstractmethod
    def predict(self, artifact: str) -> PlannedJob:
        """The job that predicts with an artifact, whose inputs say how its weights are read."""

    @property
    def detection(self) -> Detection:
        assert self.study.detection is not None
        return self.study.detection

    def embed(self, artifact: str) -> PlannedJob:
        cell, job = self.artifacts[artifact], self.predict(artifact)
        kind, labels = self.resolver.space(cell.task)
        inside, outside = matrix.detection_sets(self.study, cell.task)
        spec = _embed_spec(
            artifact=artifact,
            kind=kind,
            labels=labels,
            sets=["select", inside, *outside],
            train_rows=self.detection.train_rows,
            max_length=self._max_length(cell),
            precision=job.spec.precision,  # type: ignore[attr-defined]
        )
        inputs = {**job.inputs, "train": self._path("train", task=cell.task)}
        return PlannedJob("embed", artifact, spec, job.modules, inputs)

    @property
    def ratio(self) -> Likelihood:
        assert self.detection.likelihood is not None
        return self.detection.likelihood

    def adapt(self, task: str, model: str) -> PlannedJob:
        spec = _adapt_spec(
            task=task,
            model=model,
            objective=self.ratio.objective,
            training=self._language_training(model),
        )
        inputs = {"base": self._path("base", model=model), "train": self._path("train", task=task)}
        return PlannedJob("adapt", LanguageModel(task, model).artifact, spec, (), inputs)

    def likelihood(self, task: str, model: str) -> PlannedJob:
        cell, place = LanguageModel(task, model), {"task": task, "model": model}
        inside, outside = matrix.detection_sets(self.study, task)
        masked = self.ratio.objective == "masked"
        spec = _likelihood_spec(
            artifact=cell.artifact,
            **place,
            objective=self.ratio.objective,
            pll=self.ratio.pll,
            tokens=self.ratio.tokens if masked else None,
            sets=["select", inside, *outside],
            max_length=self._language_training(model).max_length,
        )
        inputs = {
            "base": self._path("base", model=model),
            "evaluation": self._path("evaluation", task=task),
            "adapted": self._path("adapted", **place),
            "model": self._path("adapted_model", **place),
        }
        return PlannedJob("likelihood", cell.artifact, spec, (), inputs)

    def _language_training(self, model: str) -> Training:
        training = self.resolver.language_training()
        return training.model_copy(
            update={"max_length": min(training.max_length, self.catalogue.model(model).max_length)}
        )

    def detect(self, artifact: str) -> PlannedJob:
        others = {cell.artifact: cell for cell in language_models(self.study)}
        if artifact in others:
            cell = others[artifact]
            inputs = {"likelihoods": self._path("likelihoods", task=cell.task, model=cell.model)}
            return self._detect(cell, [self.ratio.score, f"{self.ratio.score}_mean"], inputs)
        return self._detect_artifact(artifact)

    def _detect_artifact(self, artifact: str) -> PlannedJob:
        cell, wanted = self.artifacts[artifact], self.detection
        inputs = {"predictions": self._path("predictions", artifact=artifact)}
        scores: list[str] = list(wanted.scores)
        if isinstance(cell, matrix.EnsembleCell):  # it has stored outputs and no layer
            scores = [name for name in scores if name in detect_stage.FROM_LOGITS]
        elif wanted.features:
            inputs["features"] = self._path("features", artifact=artifact)
        return self._detect(cell, scores, inputs)

    def _detect(self, cell: matrix.Artifact | LanguageModel, scores: list[str], inputs: dict[str, str]) -> PlannedJob:
        inside, outside = matrix.detection_sets(self.study, cell.task)
        spec = detect_stage.Spec(
            artifact=cell.artifact,
            study=self.loaded.name,
            **matrix.identity(cell),
            inside=inside,
            outside=outside,
            scores=scores,
            **self.detection.model_dump(include={"temperature", "neighbours", "accepted", "resamples"}),
        )
        return PlannedJob("detect", cell.artifact, spec, (), inputs)


# the methods above are named after their stages and hide the modules inside the class
_embed_spec, detect_stage, _adapt_spec, _likelihood_spec = embed.Spec, detect, adapt.Spec, likelihood.Spec
