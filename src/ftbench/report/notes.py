"""How to read the numbers, in the few sentences that stand under every form of the leaderboard."""

from __future__ import annotations

from ftbench.report.leaderboard import method_label
from ftbench.report.results import Results
from ftbench.statistics.baseline import baseline_of

_ADJUSTED = {"holm": "Holm-adjusted", "bh": "adjusted by Benjamini and Hochberg"}
_FAMILIES = {
    "metric": "all methods and sets of one task, model and metric",
    "set": "all methods of one set",
    "study": "the whole study",
}


def reading_notes(results: Results) -> list[str]:
    """Sentences on means, ranges, verdicts and soups, with what this study's settings make of them."""
    study = results.study
    notes = [_means(len(study.seeds))]
    baseline = baseline_of(study)
    if baseline is None:
        notes.append("The study names no baseline, so nothing is tested.")
    else:
        notes.append(
            f"Verdicts compare with {method_label(*baseline)} by a paired t-test over seeds at 5 %,"
            f" {_ADJUSTED[study.statistics.adjustment]} over {_FAMILIES[study.statistics.family]}; a number is bold"
            " only where the verdict is better. Fewer than five pairs of seeds give no verdict."
        )
    if study.prior:
        notes.append(
            f"On the prior task `{study.prior.name}` the change is against the model before fine-tuning: what"
            " was forgotten, where it is a loss."
        )
    if study.ensembles:
        notes.append(
            "An ensemble averages the outputs of its members: the reference of soups, at the price of one forward pass"
            " for each member."
        )
    if study.soups:
        notes.append(
            "A soup is one model, so it has no seeds: the range behind its score is a 95 % bootstrap interval"
            " over examples, and it is not tested."
        )
    return notes


def _means(seeds: int) -> str:
    if seeds == 1:
        return "Numbers are of one seed, which says nothing about the next."
    return (
        f"Numbers are means over {seeds} seeds ± half their 95 % t interval, with the lowest and highest seed behind"
        " them. A mean is empty"
        " unless every seed has a score."
    )


def verdicts_in_words(results: Results) -> str:
    """How many comparisons with the baseline, at the leading metric of each set, came out how; empty without any."""
    from collections import Counter

    from ftbench.comparing.scores import leading

    study, baseline = results.study, baseline_of(results.study)
    metrics = {(row["task"], row["eval_set"], row["metric"]) for row in results.metrics}
    counts: Counter[str] = Counter()
    for row in results.comparisons:
        wanted = leading(study, row["task"], row["role"])
        shown = next((name for name in wanted if (row["task"], row["eval_set"], name) in metrics), None)
        if row["primary"] and row["scope"] == "baseline" and row["metric"] == shown:
            counts[row["verdict"]] += 1
    if baseline is None or not counts:
        return ""
    told = ", ".join(f"{counts[word]} {word}" for word in ("better", "worse", "no evidence", "too few seeds"))
    return f"Against {method_label(*baseline)}, over all methods and sets: {told}."
