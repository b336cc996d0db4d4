"""Out-of-fold predictions of a shallow text model: what a bag of words can tell about the labels.

Methods that discount shallow features ask for them before training. Every row is predicted by a forest that did
not see it; predictions on rows that a forest was fitted on are almost certain and would overstate its knowledge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError

if TYPE_CHECKING:
    import numpy as np


def shallow_probabilities(
    texts: list[str], targets: np.ndarray, labels: int, words: int, trees: int, folds: int, seed: int
) -> np.ndarray:
    """Probabilities (rows, labels) in float32 of a random forest on TF-IDF of the `words` commonest words.

    `targets` holds label indices. With `folds` of 1 the forest predicts the rows that it was fitted on. Texts
    without any word of two letters raise an `FtbenchError`.
    """
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.model_selection import KFold

    try:
        features = TfidfVectorizer(max_features=words).fit_transform(texts)
    except ValueError as error:
        raise FtbenchError(f"a shallow text model: found no word in {len(texts)} training texts ({error})") from None
    everything = np.arange(len(texts))
    parts = [(everything, everything)]
    if folds > 1:
        if len(texts) < folds:
            raise FtbenchError(f"a shallow text model: found {len(texts)} training rows; expected at least {folds}")
        parts = list(KFold(folds, shuffle=True, random_state=seed).split(everything))
    table = np.zeros((len(texts), labels), dtype=np.float32)
    for fitted, predicted in parts:
        # one process: the sum over trees would otherwise depend on which of them ends first
        forest = RandomForestClassifier(trees, random_state=seed, n_jobs=1).fit(features[fitted], targets[fitted])
        table[np.ix_(predicted, forest.classes_)] = forest.predict_proba(features[predicted])
    return table
