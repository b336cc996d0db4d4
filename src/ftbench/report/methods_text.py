"""The paragraph on methods for a paper: what was compared on what, with which settings, seeds, versions and tests.

Every statement comes from the study and its tables. Where something is not recorded it is left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from ftbench.report.citations import Citation, Source
from ftbench.report.latex import escape
from ftbench.report.leaderboard import method_label
from ftbench.report.results import Results
from ftbench.statistics.baseline import baseline_of

_PACKAGES = ("torch", "transformers", "accelerate", "peft", "numpy", "scipy")


def methods_text(results: Results, sources: Sequence[Source], found: Sequence[Citation], latex: bool) -> str:
    """The paragraph, as LaTeX with \\cite commands or as Markdown with keys in brackets."""
    keys = {name: item.key for item in found for name in item.names}
    by_kind: dict[str, list[Source]] = {}
    for source in sources:
        by_kind.setdefault(source.kind, []).append(source)

    def plain(text: str) -> str:
        return escape(text) if latex else text

    def named(source: Source) -> str:
        key = keys.get(source.name)
        cited = "" if key is None else rf"~\cite{{{key}}}" if latex else f" [{key}]"
        return plain(source.title or source.name) + cited

    sentences = []
    for kind, words in (
        ("method", "We compare the fine-tuning methods {}."),
        ("soup", "Models of equal settings are averaged over seeds by {}."),
        ("model", "The pretrained models are {}."),
        ("data set", "The data sets are {}."),
    ):
        if kind in by_kind:
            sentences.append(words.format(_listed([named(source) for source in by_kind[kind]])))
    sentences += [plain(sentence) for sentence in (*_training(results), *_testing(results), *_origin(results))]
    return " ".join(sentences) + "\n"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _training(results: Results) -> list[str]:
    study, training = results.study, results.study.training
    length = f"{training.steps} steps" if training.steps else f"{training.epochs:g} epochs"
    found = [
        f"Unless a method's own settings say otherwise, training takes {length} with batches of {training.batch_size},"
        f" AdamW with a highest learning rate of {training.learning_rate:g}, weight decay {training.weight_decay:g},"
        f" {training.warmup_share:.0%} warm-up and a {training.schedule} schedule; texts are cut at"
        f" {training.max_length} tokens.",
        f"Every method is trained with the {len(study.seeds)} {'seed' if len(study.seeds) == 1 else 'seeds'}"
        f" {', '.join(map(str, study.seeds))}; equal seeds share data order and initial weights across methods.",
    ]
    changed = [
        method_label(method, variant)
        for method in study.methods
        for variant, settings in study.variants(method).items()
        if settings.training
    ]
    if changed:
        found.append(f"Other training settings are used for {_listed(changed)}.")
    ended = [row for row in results.runs if row["status"] != "missing"]
    failed = sum(row["status"] != "success" for row in ended)
    found.append(f"Of {len(results.runs)} runs {len(ended)} ended, {failed} of them failed or collapsed.")
    return found


def _testing(results: Results) -> list[str]:
    settings, baseline = results.study.statistics, baseline_of(results.study)
    if baseline is None:
        return ["No method is tested against another."]
    family = {"metric": "all methods and sets of one task, model and metric", "set": "all methods of one set",
              "study": "the whole study"}[settings.family]  # fmt: skip
    adjustment = {"holm": "Holm's method", "bh": "the method of Benjamini and Hochberg"}[settings.adjustment]
    return [
        f"Differences from {method_label(*baseline)} are tested by paired t-tests over seeds at 5 %, adjusted by"
        f" {adjustment} within {family}; fewer than five pairs of seeds give no verdict.",
        f"Beside it stand a bootstrap of seeds and examples jointly ({settings.resamples:,} resamples), sign-flip"
        " permutation, almost stochastic order and, for accuracy, McNemar's test.",
    ]


def _origin(results: Results) -> list[str]:
    versions: dict[str, set[str]] = {}
    for row in results.runs:
        for package, version in json.loads(row["versions"] or "{}").items():
            versions.setdefault(package, set()).add(str(version))
    used = [f"{name} {' and '.join(sorted(versions[name]))}" for name in _PACKAGES if name in versions]
    devices = sorted({str(row["device"]) for row in results.runs if row["device"]})
    commits = sorted({str(row["git_commit"])[:12] for row in results.runs if row["git_commit"]})
    found = []
    if used:
        found.append(f"Software: {', '.join(used)}.")
    if devices:
        found.append(f"Devices: {', '.join(devices)}.")
    if commits:
        found.append(f"Code: commit {', '.join(commits)}.")
    return found
