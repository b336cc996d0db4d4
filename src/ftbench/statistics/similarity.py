"""How alike two samples of texts are: by words, lengths, labels and embeddings.

Called by the stage `shift` with counts and arrays; nothing here reads a text or a model. All measures are of samples,
so two samples of one source do not score perfectly: the selection rows, cut from training, show how far off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
FOLDS = 5


def out_of_vocabulary(known: Mapping[Any, int], counts: Mapping[Any, int]) -> float | None:
    """Share of tokens in `counts` that do not occur in `known`; null without tokens."""
    total = sum(counts.values())
    return sum(count for token, count in counts.items() if token not in known) / total if total else None


def jensen_shannon(first: Mapping[Any, int], second: Mapping[Any, int]) -> float | None:
    """Jensen-Shannon divergence of two distributions given by counts, base 2, in [0, 1] (Lin 1991).

    (KL(P || M) + KL(Q || M)) / 2 with M = (P + Q) / 2. Biased upward in small samples. Null without counts.
    """
    totals = sum(first.values()), sum(second.values())
    if not all(totals):
        return None
    divergence = 0.0
    for name in {**first, **second}:
        p, q = first.get(name, 0) / totals[0], second.get(name, 0) / totals[1]
        middle = (p + q) / 2
        divergence += sum(share * math.log2(share / middle) / 2 for share in (p, q) if share > 0)
    return min(1.0, max(0.0, divergence))


def total_variation(first: Mapping[Any, int], second: Mapping[Any, int]) -> float | None:
    """Half the sum of absolute differences of two distributions given by counts; null without counts."""
    totals = sum(first.values()), sum(second.values())
    if not all(totals):
        return None
    return (
        sum(abs(first.get(name, 0) / totals[0] - second.get(name, 0) / totals[1]) for name in {**first, **second}) / 2
    )


def kolmogorov_smirnov(first: Values, second: Values) -> float | None:
    """Largest distance between the two empirical distribution functions of numbers; null without numbers."""
    if not len(first) or not len(second):
        return None
    places = np.unique(np.concatenate([first, second]))
    below = [np.searchsorted(np.sort(values), places, side="right") / len(values) for values in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def centroid_cosine(first: Values, second: Values) -> float | None:
    """Cosine of the mean embeddings of two sets (texts, width), as in BOSS (Yuan et al. 2023); null for a zero mean."""
    one, other = first.mean(axis=0), second.mean(axis=0)
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.clip(one @ other / scale, -1.0, 1.0)) if scale > 0 else None


def domain_auroc(first: Values, second: Values, seed: int = 0) -> float | None:
    """AUROC with which a logistic regression tells two sets of embeddings (texts, width) apart: 0.5 not, 1 always.

    The mean over five stratified folds of the rows that the classifier has not seen, features standardised on the
    others; `seed` draws the folds. Null with fewer than five texts on a side.
    """
    if min(len(first), len(second)) < FOLDS:
        return None
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = np.concatenate([first, second])
    side = np.repeat([0, 1], [len(first), len(second)])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return float(cross_val_score(classifier, features, side, scoring="roc_auc", cv=folds).mean())
