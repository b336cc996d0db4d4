"""Rows of the table `attack_comparisons`: every method and variant against the baseline, under each attack.

Called by the stage `compare`. Over seeds the accuracy under attack is compared, over examples the success of the
attack among those that both classify correctly; adjustment and words are those of `comparisons`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ftbench.comparing.scores import Rival, rivals

if TYPE_CHECKING:
    from ftbench.config.study import Study


class Field(NamedTuple):
    """Where methods are compared under attack."""

    task: str
    model: str
    attack: str
    eval_set: str


@dataclass
class Row:
    """One test, and what it takes to judge it. `sign`: 1 where a higher value is harder to attack."""

    field: Field
    method: Rival
    baseline: Rival
    test: str
    numbers: dict[str, Any]
    sign: int = 1

    @property
    def difference(self) -> float | None:
        value = self.numbers["difference"]
        return None if value is None else float(value) * self.sign

    @property
    def p_value(self) -> float | None:
        value: float | None = self.numbers["p_value"]
        return value

    @property
    def testable(self) -> bool:
        from ftbench.statistics.families import FEWEST_PAIRS

        return self.numbers["n_pairs"] >= FEWEST_PAIRS and self.p_value is not None


Examples = dict[tuple[str, str], dict[str, bool]]  # artifact and set to example and attack seed to fooled or not


def attack_comparisons(study: Study, scores: list[dict[str, Any]], attacks: Path) -> Iterator[dict[str, Any]]:
    """Rows without `study`, from rows of `attack_scores` and the file of `attacks`; none without a baseline."""
    from ftbench.statistics.baseline import baseline_of
    from ftbench.statistics.families import judge

    named = baseline_of(study)
    scores = [row for row in scores if row["artifact_kind"] == "run"]
    if named is None or not scores:
        return
    reference = Rival(*named)
    rows: list[Row] = []
    for attack in dict.fromkeys(row["attack"] for row in scores):
        examples = _examples(attacks, attack)
        mine = [row for row in scores if row["attack"] == attack]
        for field in dict.fromkeys(Field(row["task"], row["model"], attack, row["eval_set"]) for row in mine):
            here = [row for row in mine if (row["task"], row["model"], row["eval_set"]) == (*field[:2], field.eval_set)]
            rows += _at(study, field, here, reference, examples)
    families: dict[str, list[Row]] = {}
    for row in rows:
        kind = "mcnemar" if row.test == "mcnemar" else "seeds"
        families.setdefault(f"{row.field.task} / {row.field.model} / attacks / {kind}", []).append(row)
    for name, family in families.items():
        judged = judge(family, higher_is_better=True, adjustment=study.statistics.adjustment)
        for row, verdict in zip(family, judged, strict=True):
            yield {
                **row.field._asdict(),
                "method": row.method.method,
                "variant": row.method.variant,
                "baseline": row.baseline.method,
                "baseline_variant": row.baseline.variant,
                "test": row.test,
                **row.numbers,
                "family": name,
                **verdict.__dict__,
            }


def _at(
    study: Study, field: Field, scores: list[dict[str, Any]], reference: Rival, examples: Examples
) -> Iterator[Row]:
    """The tests at one place, for every method that was attacked beside the baseline."""
    from ftbench.statistics.attacks import fooled_in_pairs
    from ftbench.statistics.paired import compare

    accuracies: dict[Rival, dict[int, list[float]]] = {}
    artifacts: dict[tuple[Rival, int], str] = {}
    for row in scores:
        rival = Rival(row["method"], row["variant"])
        accuracies.setdefault(rival, {}).setdefault(row["seed"], []).append(row["accuracy_under_attack"])
        artifacts[rival, row["seed"]] = row["artifact_id"]
    chosen = study.attacks[field.attack].run_seeds or study.seeds
    samples = max(len(values) for own in accuracies.values() for values in own.values())
    means = {
        rival: {seed: sum(values) / samples for seed, values in own.items() if len(values) == samples}
        for rival, own in accuracies.items()
    }
    for rival in rivals(study):
        if rival == reference or rival not in means or reference not in means:
            continue
        paired = {**compare(means[rival], means[reference], chosen).__dict__}
        yield Row(field, rival, reference, paired.pop("test"), paired)
        common = [seed for seed in chosen if seed in means[rival] and seed in means[reference]]
        pairs = [
            (examples[artifacts[rival, seed], field.eval_set], examples[artifacts[reference, seed], field.eval_set])
            for seed in common
        ]
        if pairs:
            yield Row(
                field, rival, reference, "mcnemar", _counted(fooled_in_pairs(pairs), len(common), len(chosen)), -1
            )


def _counted(found: Any, pairs: int, wanted: int) -> dict[str, Any]:
    rates: Sequence[float | None] = (found.first_rate, found.second_rate)
    known = found.first_rate is not None and found.second_rate is not None
    return {
        "n_pairs": pairs,
        "n_missing": wanted - pairs,
        "n_examples": found.n_examples,
        "mean": rates[0],
        "baseline_mean": rates[1],
        "difference": found.first_rate - found.second_rate if known else None,
        "statistic": float(found.first_more - found.second_more),
        "p_value": found.p_value if found.n_examples else None,
    }


def _examples(attacks: Path, attack: str) -> Examples:
    """What became of the examples that an artifact had right under one attack; ids with the attack's seed."""
    from pyarrow import compute

    from ftbench.tables.streamed import parts

    found: Examples = {}
    columns = ["artifact_id", "attack", "attack_seed", "eval_set", "uid", "status", "gold", "pred_before"]
    for part in parts("attacks", attacks, columns=columns):
        for row in part.filter(compute.equal(part.column("attack"), attack)).to_pylist():
            own = found.setdefault((row["artifact_id"], row["eval_set"]), {})
            if row["pred_before"] == row["gold"] and row["status"] in ("success", "failed", "budget"):
                own[f"{row['attack_seed']}/{row['uid']}"] = row["status"] == "success"
    return found
