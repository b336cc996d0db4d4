"""What attacks did to an artifact, and how two methods compare under attack, from counts and plain arrays.

The stages `collect` and `compare` call it. A cut at the budget counts as a failed attack everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ftbench.statistics.failures import failure_rate
from ftbench.statistics.permutation import mcnemar_p


@dataclass(frozen=True)
class AttackScores:
    """Rates of one attack on one artifact and set. Rows that were wrong before are skipped ones, whatever was tried.

    original accuracy = (success + failed) / n; accuracy under attack = failed / n; success rate = success / (success +
    failed), with Wilson's interval; perturbed share = mean over successes of changed / words; queries = mean over rows
    that are not skipped. Failed includes those cut at the budget here.
    """

    n: int
    skipped: int
    success: int
    failed: int
    budget: int
    error: int
    original_accuracy: float
    accuracy_under_attack: float
    success_rate: float | None
    success_low: float | None
    success_high: float | None
    perturbed_share: float | None
    mean_queries: float | None


def attack_scores(
    status: Sequence[str],
    right: Sequence[bool],
    n_changed: Sequence[int],
    n_words: Sequence[int],
    queries: Sequence[int],
) -> AttackScores:
    """Scores from one value for each example, at least one; `right`: classified correctly before.

    An attack on predictions also changes wrong ones, which says nothing about accuracy.
    """
    total = len(status)
    status = [name if was or name == "error" else "skipped" for name, was in zip(status, right, strict=True)]
    counts = {name: status.count(name) for name in ("skipped", "success", "failed", "budget", "error")}
    kept = counts["failed"] + counts["budget"]
    tried = counts["success"] + kept
    interval = failure_rate(counts["success"], tried)
    rows = list(zip(status, n_changed, n_words, queries, strict=True))
    shares = [changed / words for name, changed, words, _ in rows if name == "success" and words]
    asked = [count for name, _, _, count in rows if name != "skipped"]
    return AttackScores(
        n=total,
        **counts,
        original_accuracy=tried / total,
        accuracy_under_attack=kept / total,
        success_rate=interval[0] if interval else None,
        success_low=interval[1] if interval else None,
        success_high=interval[2] if interval else None,
        perturbed_share=sum(shares) / len(shares) if shares else None,
        mean_queries=sum(asked) / len(asked) if asked else None,
    )


@dataclass(frozen=True)
class Fooled:
    """Attack success on the examples that both of two methods had right, over pairs of artifacts."""

    n_examples: int  # right for both in at least one pair
    first_rate: float | None  # over all pairs and common examples
    second_rate: float | None
    first_more: int  # examples on which the first was fooled in more pairs
    second_more: int
    p_value: float


def fooled_in_pairs(pairs: Sequence[tuple[Mapping[str, bool], Mapping[str, bool]]]) -> Fooled:
    """Compare pairs of artifacts (same seed); each maps the ids of examples it had right to whether it was fooled.

    With one pair the p value is McNemar's exact test among examples both had right; with more, an exact sign test over
    examples of who was fooled in more pairs.
    """
    leading: dict[str, int] = {}
    first_sum = second_sum = total = 0
    for first, second in pairs:
        for uid in first.keys() & second.keys():
            leading[uid] = leading.get(uid, 0) + int(first[uid]) - int(second[uid])
            first_sum += int(first[uid])
            second_sum += int(second[uid])
            total += 1
    ahead = sum(value > 0 for value in leading.values())
    behind = sum(value < 0 for value in leading.values())
    return Fooled(
        n_examples=len(leading),
        first_rate=first_sum / total if total else None,
        second_rate=second_sum / total if total else None,
        first_more=ahead,
        second_more=behind,
        p_value=mcnemar_p(ahead, behind),
    )
