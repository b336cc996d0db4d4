"""The jobs that tell rows from outside the task: features of artifacts and scores of detection."""

from __future__ import annotations

from abc import abstractmethod

from ftbench import matrix
from ftbench.attack_jobs import AttackJobs
from ftbench.config.detection import Detection
from ftbench.data_jobs import PlannedJob
from ftbench.stages import detect, embed


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

    def detect(self, artifact: str) -> PlannedJob:
        cell, wanted = self.artifacts[artifact], self.detection
        inputs = {"predictions": self._path("predictions", artifact=artifact)}
        scores = list(wanted.scores)
        if isinstance(cell, matrix.EnsembleCell):  # it has stored outputs and no layer
            scores = [name for name in scores if name in detect_stage.FROM_LOGITS]
        elif wanted.features:
            inputs["features"] = self._path("features", artifact=artifact)
        inside, outside = matrix.detection_sets(self.study, cell.task)
        spec = detect_stage.Spec(
            artifact=artifact,
            study=self.loaded.name,
            **matrix.identity(cell),
            inside=inside,
            outside=outside,
            scores=scores,
            **wanted.model_dump(include={"temperature", "neighbours", "accepted", "resamples"}),
        )
        return PlannedJob("detect", artifact, spec, (), inputs)


# the methods above are named after their stages and hide the modules inside the class
_embed_spec, detect_stage = embed.Spec, detect
