"""Mean loss of the supervised words of plain text, in nats, over the words of all rows; its exp is the perplexity."""

from __future__ import annotations

import math

from ftbench.metrics.base import WordMetric


class WordLoss(WordMetric):
    name = "word_loss"
    summary = "mean loss of the supervised words of plain text, nats"
    higher_is_better = False
    unit = "number"
    bounds = (0.0, math.inf)
    column = 0
