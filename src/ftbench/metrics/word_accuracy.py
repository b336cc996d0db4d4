"""Share of the supervised words of plain text that a language model has right, over the words of all rows."""

from __future__ import annotations

from ftbench.metrics.base import WordMetric


class WordAccuracy(WordMetric):
    name = "word_accuracy"
    summary = "share of supervised words of plain text that are right"
    higher_is_better = True
    column = 2
