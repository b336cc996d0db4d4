"""Adversarial training: rows with which an attack fools a plainly trained model join the training rows.

Paper: Jin et al. (2020), Is BERT Really Robust? A Strong Baseline for Natural Language Attack on Text Classification
and Entailment (its section on adversarial training); Ren et al. (2019) and Alshahrani et al. (2024) train likewise.
Formula: theta = training from theta_0 on D and {(x', y): x' = attack(x, y; theta_plain), fooled, (x, y) in a share of
D}, with as many steps as on D alone.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Name, Strict, validated
from ftbench.methods.base import Cost, Method
from ftbench.plugins import plugin
from ftbench.training.examples import Examples
from ftbench.training.seeds import numpy_generator

if TYPE_CHECKING:
    from ftbench.attacks.base import Attack
    from ftbench.config.study import Training
    from ftbench.methods.base import Context

Crafted = list[tuple[int, str]]  # row of the training set, and its attacked text


class AdversarialTraining(Method):
    """Trains a copy of the start plainly, attacks some rows of it, and adds those that fooled it."""

    name = "adversarial_training"
    summary = "training rows attacked so that they fool a plainly trained model, added with their true label"
    paper = (
        "Jin et al. (2020), Is BERT Really Robust? A Strong Baseline for Natural Language Attack on Text "
        "Classification and Entailment"
    )
    reference_code = "jind11/TextFooler"
    formula = "theta_0 trained on D and {(attack(x, y; theta_plain), y) that fool theta_plain}, with the steps of D"
    deviations = (
        "a share of the rows is attacked and not all of them",
        "rows are crafted once, by a model that was trained plainly for `victim_share` of the steps",
        "training starts anew with the number of steps of the plain rows, so that no method trains longer",
        "an attack that asks a model asks the run's own base model; other model entries are refused",
    )
    cost = Cost(forward=2.0, backward=2.0, memory="a second model while rows are crafted")
    search = {"settings.share": (0.05, 0.1, 0.2)}
    alters_forward = True

    class Config(Strict):
        attack: Name = Field("deep_word_bug", description="attack plug-in")
        attack_settings: dict[str, Any] = Field(
            default_factory=dict,
            description="values of the attack's own configuration; files are no input of the graph",
        )
        share: float = Field(
            0.1, gt=0, le=0.2, description="part of the training rows that is attacked, drawn by the seed"
        )
        victim_share: float = Field(
            1.0,
            gt=0,
            le=1,
            description="part of the run's steps for which the attacked model is trained; less is cheaper",
        )

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._facts: dict[str, Any] = {}

    @classmethod
    def uses(cls, config: Any) -> tuple[tuple[str, str], ...]:
        return (("attacks", config.attack),)

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        reasons = []
        if kind != "classification":
            reasons.append(f"`{cls.name}` on a {kind}; expected a classification: an attack changes the label")
        if training.processes > 1:
            reasons.append(f"`processes` {training.processes}; expected 1: the rows are crafted in one process")
        reasons += [
            f"`{cls.name}` with `{other.name}`, which changes the training rows as well; expected one of them"
            for other in others
            if other.examples is not Method.examples
        ]
        try:
            attack = _attack(config)
            _files(attack)
        except FtbenchError as error:
            return [*reasons, str(error)]
        if named := attack.models(attack.config):
            reasons.append(
                f"`attack_settings` that name the models {list(named)}; expected none: the base model is asked"
            )
        return reasons

    def examples(self, examples: Examples, context: Context) -> Examples:
        import numpy as np

        kept = None if context.work is None else context.work / "adversarial.json"
        if kept is not None and kept.is_file():  # an earlier attempt of this run
            crafted, self._facts = json.loads(kept.read_text(encoding="utf-8"))
        else:
            crafted = self._crafted(examples, context)
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                partial = kept.with_suffix(".partial")
                partial.write_text(json.dumps([crafted, self._facts]), encoding="utf-8")
                partial.replace(kept)
        assert examples.targets is not None
        second = _attack(self.config).config.text != "text_a" and examples.text_b is not None
        rows = [row for row, _ in crafted]
        texts = [text for _, text in crafted]
        added = examples.take(np.array(rows, dtype=np.int64))
        text_a = added.text_a if second else texts
        text_b = texts if second else added.text_b
        return Examples(
            [*examples.uids, *(f"{uid}/adversarial" for uid in added.uids)],
            [*examples.text_a, *text_a],
            None if examples.text_b is None or text_b is None else [*examples.text_b, *text_b],
            np.concatenate([examples.targets, examples.targets[rows]]) if rows else examples.targets,
        )

    def _crafted(self, examples: Examples, context: Context) -> Crafted:
        """Train the model that is attacked, attack the drawn rows, and keep those that fool it."""
        from ftbench.attacking.contract import Resources, Subject
        from ftbench.attacking.engine import CPU_GROUP, GPU_GROUP, attacked
        from ftbench.attacking.victim import ModelVictim
        from ftbench.training.inference import device

        place = device()
        model, trained = self._victim(examples, context)
        victim = ModelVictim(model.to(place), context.tokenizer, context.training.max_length, place)
        attack = _attack(self.config)
        snapshot = context.snapshot or Path()
        attack.prepare(Resources(snapshot, {}, _files(attack), place))
        count = max(1, round(self.config.share * len(examples)))
        drawn = numpy_generator(context.seed, "noise", self.name, "rows").permutation(len(examples))[:count]
        assert examples.targets is not None
        second: Sequence[str | None] = examples.text_b or [None] * len(examples)
        chosen = sorted(int(row) for row in drawn)
        subjects = [
            Subject(examples.uids[row], examples.text_a[row], second[row], int(examples.targets[row])) for row in chosen
        ]
        together = CPU_GROUP if place.type == "cpu" else GPU_GROUP
        outcomes = [one for group in attacked(attack, subjects, victim, context.seed, together) for one in group]
        fooled = [
            (row, str(one.text_after)) for row, one in zip(chosen, outcomes, strict=True) if one.status == "success"
        ]
        right = sum(one.status not in ("skipped", "error") for one in outcomes)
        self._facts = {
            # a row that a model is trained on costs about three that are passed through it
            "forward_rows_extra": 3 * trained + victim.rows,
            "notes": f"{self.config.attack} fooled {len(fooled)} of {right} attacked rows that were right before",
        }
        print(self._facts["notes"], flush=True)
        return fooled

    def _victim(self, examples: Examples, context: Context) -> tuple[Any, int]:
        """A copy of the start after plain fine-tuning (with all steps: the plain run of this seed), and how many rows
        it was trained on."""
        from ftbench.training.fit import fit
        from ftbench.training.models import replace_weights
        from ftbench.training.optimization import total_steps

        steps = max(1, round(self.config.victim_share * total_steps(context.training, len(examples))))
        plain = {"steps": steps, "evaluations": 0, "keep": "last"}
        training = context.training.model_copy(update=plain)
        model = copy.deepcopy(context.model)
        with _folder(context) as work:
            fitted = fit(
                copy.deepcopy(model), context.tokenizer, examples, [], training, context.kind, context.seed, work
            )
        if fitted.outcome.weights is None:
            raise FtbenchError(
                f"method {self.name}: the loss of the plainly trained model was no longer finite at step "
                f"{fitted.outcome.failed_step}; there is nothing to attack. Lower `learning_rate`."
            )
        replace_weights(model, fitted.outcome.weights)  # not the trained object, which keeps its mixed precision
        return model, fitted.outcome.rows

    def record(self) -> dict[str, Any]:
        return self._facts


def _attack(config: Any) -> Attack:
    """The attack plug-in with its settings; wrong ones raise an `FtbenchError`."""
    factory = plugin("attacks", config.attack).factory
    settings = validated(factory.Config, config.attack_settings, "method adversarial_training", "attack_settings")
    attack: Attack = factory(settings)
    return attack


def _files(attack: Attack) -> dict[str, Path]:
    """The local files that the attack reads; one that is not given or not there raises an `FtbenchError`."""
    from ftbench.data.lexicon import lexicon_path

    found = {}
    for key, name in attack.files(attack.config).items():
        if name is None:
            raise FtbenchError(f"key `attack_settings.{key}`: found nothing; expected the path of a local file")
        found[key] = lexicon_path(name, f"attack_settings.{key}")
    return found


@contextmanager
def _folder(context: Context) -> Iterator[Path]:
    """Where the attacked model's training keeps its checkpoints."""
    if context.work is not None:
        yield context.work / "victim"
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
