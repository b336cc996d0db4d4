"""Adversarial training: which rows are added, what model they fool, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from ftbench.config.load import LoadedStudy, load_catalogue
from ftbench.config.study import Study, Training
from ftbench.methods.adversarial_training import AdversarialTraining
from ftbench.methods.eda import Eda
from ftbench.methods.vanilla import Vanilla
from ftbench.plan import Plan
from ftbench.training.examples import Examples, encode
from ftbench.training.fit import Fitted, fit
from ftbench.training.inference import logits
from ftbench.training.masked_language import word_tokenizer
from ftbench.training.method import Context
from ftbench.training.weights import plain_state

GOOD, BAD = ["good", "fine", "great", "nice"], ["poor", "dull", "bad", "weak"]
FILLERS = ["film", "story", "actor", "scene", "plot"]
CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]


def rows(count: int = 60) -> Examples:
    """The second word tells the label; the training knows half of the words that say the same."""
    draws, texts, targets = np.random.default_rng(0), [], []
    for number in range(count):
        words = (BAD, GOOD)[number % 2][:2]
        texts.append(f"{draws.choice(FILLERS)} {draws.choice(words)} {draws.choice(FILLERS)} {draws.choice(FILLERS)}")
        targets.append(number % 2)
    return Examples([f"row{number}" for number in range(count)], texts, None, np.array(targets))


def tokenizer() -> Any:
    return word_tokenizer([" ".join([*GOOD, *BAD, *FILLERS])])


def model() -> torch.nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(1)
    config = BertConfig(vocab_size=len(tokenizer()), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=16, max_position_embeddings=16, num_labels=2)  # fmt: skip
    return BertForSequenceClassification(config)


@pytest.fixture
def synonyms(tmp_path: Path) -> str:
    file = tmp_path / "synonyms.txt"
    file.write_text(f"{','.join(GOOD)}\n{','.join(BAD)}\n", encoding="utf-8")
    return str(file)


TRAINING = Training(steps=80, batch_size=10, learning_rate=1e-2, evaluations=0, precision="fp32")


def method(synonyms: str, **config: Any) -> AdversarialTraining:
    given = {"attack": "pwws", "attack_settings": {"lexicon": synonyms}, "share": 0.2, **config}
    return AdversarialTraining(AdversarialTraining.Config(**given))


def trained(methods: list[Any], work: Path, training: Training = TRAINING) -> tuple[Fitted, torch.nn.Module]:
    torch.set_num_threads(1)
    made = model()
    return fit(made, tokenizer(), rows(), methods, training, "classification", 3, work), made


def predicted(made: torch.nn.Module, given: Examples) -> np.ndarray:
    return logits(made, encode(tokenizer(), given, 16), CPU).argmax(1)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The victim of each attack."""
    from ftbench.attacking import engine

    victims: list[Any] = []
    attacked: Callable[..., Any] = engine.attacked

    def remember(attack: Any, subjects: Any, victim: Any, *given: Any) -> Any:
        victims.append(victim)
        return attacked(attack, subjects, victim, *given)

    monkeypatch.setattr(engine, "attacked", remember)
    return victims


def test_rows_that_fool_the_plain_model_of_the_seed_are_added_with_their_label(
    synonyms: str, tmp_path: Path, seen: list[Any]
) -> None:
    plain, _ = trained([Vanilla(Vanilla.Config())], tmp_path / "plain")
    whole = rows()
    taught = method(synonyms)
    context = Context(model(), TRAINING, "classification", 3, tokenizer=tokenizer())
    start = {name: tensor.clone() for name, tensor in plain_state(context.model).items()}
    found = taught.examples(whole, context)
    (victim,) = seen
    assert plain.outcome.weights is not None
    assert all(torch.equal(tensor, plain.outcome.weights[name]) for name, tensor in plain_state(victim.model).items())
    assert all(torch.equal(tensor, start[name]) for name, tensor in plain_state(context.model).items())  # a copy learnt
    assert (found.uids[:60], found.text_a[:60]) == (whole.uids, whole.text_a)
    assert found.targets is not None
    assert whole.targets is not None
    assert 0 < len(found) - 60 <= 12  # a fifth of the rows at most
    added = found.take(np.arange(60, len(found)))
    origins = [whole.uids.index(uid.removesuffix("/adversarial")) for uid in added.uids]
    assert added.targets is not None
    assert np.array_equal(added.targets, whole.targets[origins])
    original = whole.take(np.array(origins))
    assert np.array_equal(predicted(victim.model, original), original.targets)
    assert not (predicted(victim.model, added) == added.targets).any()
    for before, after in zip(original.text_a, added.text_a, strict=True):
        changed = [pair for pair in zip(before.split(), after.split(), strict=True) if pair[0] != pair[1]]
        assert changed
        assert all(set(pair) <= set(GOOD) or set(pair) <= set(BAD) for pair in changed)
    record = taught.record()
    assert record["forward_rows_extra"] == 3 * 800 + victim.rows
    assert record["notes"].startswith(f"pwws fooled {len(added)} of ")


def test_the_trained_model_resists_and_takes_no_more_steps(synonyms: str, tmp_path: Path, seen: list[Any]) -> None:
    fitted, made = trained([method(synonyms)], tmp_path / "taught")
    assert len(fitted.outcome.log) == 80
    assert fitted.train_rows > 60
    (victim,) = seen
    unheard = Examples(["g", "b"], ["film great plot actor", "film weak plot actor"], None, np.array([1, 0]))
    probability = {
        name: np.exp(found := logits(one, encode(tokenizer(), unheard, 16), CPU))[[0, 1], [1, 0]]
        / np.exp(found).sum(axis=1)
        for name, one in (("plain", victim.model), ("taught", made))
    }
    assert probability["taught"].mean() > probability["plain"].mean()


def test_a_resumed_run_does_not_craft_again(synonyms: str, tmp_path: Path, seen: list[Any]) -> None:
    context = Context(model(), TRAINING, "classification", 3, tokenizer=tokenizer(), work=tmp_path / "work")
    first, second = method(synonyms), method(synonyms)
    rows_of_first, rows_of_second = first.examples(rows(), context), second.examples(rows(), context)
    assert len(seen) == 1
    assert rows_of_first.text_a == rows_of_second.text_a
    assert np.array_equal(rows_of_first.targets, rows_of_second.targets)  # type: ignore[arg-type]
    assert first.record() == second.record()


def test_the_attacked_model_may_be_trained_for_a_part_of_the_steps(
    synonyms: str, tmp_path: Path, seen: list[Any]
) -> None:
    context = Context(model(), TRAINING, "classification", 3, tokenizer=tokenizer())
    taught = method(synonyms, victim_share=0.5)
    taught.examples(rows(), context)
    assert taught.record()["forward_rows_extra"] == 3 * 400 + seen[0].rows


def test_the_partner_of_an_attacked_text_stays(synonyms: str) -> None:
    plain = rows()
    pairs = Examples(plain.uids, [f"plot {uid}" for uid in plain.uids], plain.text_a, plain.targets)
    context = Context(model(), TRAINING, "classification", 3, tokenizer=tokenizer())
    for text, stays in (("last", "text_a"), ("text_a", "text_b")):
        settings = {"lexicon": synonyms, "text": text}
        found = method(synonyms, attack_settings=settings).examples(pairs, context)
        origins = [pairs.uids.index(uid.removesuffix("/adversarial")) for uid in found.uids]
        assert getattr(found, stays) == [getattr(pairs, stays)[row] for row in origins]
    assert found.text_b is not None


def test_what_cannot_be_attacked_is_refused_with_the_reason(synonyms: str, tmp_path: Path) -> None:
    check = AdversarialTraining.check
    config = method(synonyms).config
    assert check(config, TRAINING, "classification", [Vanilla]) == []
    assert "expected a classification" in check(config, TRAINING, "regression", [])[0]
    assert "changes the training rows" in check(config, TRAINING, "classification", [Eda])[0]
    many = TRAINING.model_copy(update={"processes": 2})
    assert "one process" in check(config, many, "classification", [])[0]

    def said(**changes: Any) -> str:
        (reason,) = check(method(synonyms, **changes).config, TRAINING, "classification", [])
        return reason

    assert "attack_settings.lexicon`: found nothing" in said(attack_settings={})
    assert "found no file `nowhere`" in said(attack_settings={"lexicon": "nowhere"})
    assert "unknown attack `pwss`" in said(attack="pwss")
    assert "Did you mean" in said(attack_settings={"lexicn": synonyms})
    assert "['minilm']" in said(attack_settings={"lexicon": synonyms, "least_similarity": 0.5, "sim_model": "minilm"})


def test_the_source_of_the_attack_counts_to_the_run_and_to_no_other(synonyms: str, tmp_path: Path) -> None:
    study = yaml.safe_load((ROOT / "config" / "studies" / "demo.yaml").read_text()) | {"soups": {}, "ensembles": {}}
    attacked = {"settings": {"attack": "pwws", "attack_settings": {"lexicon": synonyms}}}
    study["methods"] = {"vanilla": None, "adversarial_training": attacked}
    plan = Plan(LoadedStudy("taught", tmp_path / "taught.yaml", Study.model_validate(study)), load_catalogue(ROOT))
    modules = {job.cell.split("/")[3]: job.modules for job in plan.jobs() if job.stage == "finetune"}
    assert {"ftbench.methods.adversarial_training", "ftbench.attacks.pwws"} <= set(modules["adversarial_training"])
    assert "ftbench.attacks.pwws" not in modules["vanilla"]
