"""What a classifier's last layer reads of some rows: one vector a row, with dropout off and no gradients.

Stage `embed` calls it. The vectors are those of the head's input, so that the logits are a linear function of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError
from ftbench.training.batches import collate
from ftbench.training.examples import Encoded
from ftbench.training.inference import autocast, length_batches
from ftbench.training.sample_statistics import HeadInput

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


def head_features(
    model: torch.nn.Module, data: Encoded, place: torch.device, precision: str = "fp32"
) -> NDArray[np.float32]:
    """Vectors (rows, width) in the rows' order; a head whose last step is not linear raises an `FtbenchError`."""
    import numpy as np
    import torch

    watcher = HeadInput.of(model)
    if watcher.layer is None:
        raise FtbenchError(
            f"{type(model).__name__}: found no linear last layer, whose input could stand for a row; leave "
            "`mahalanobis`, `relative_mahalanobis` and `knn` out of `detection.scores`"
        )
    found = np.empty((len(data), watcher.layer.in_features), dtype=np.float32)
    model.eval()
    with torch.inference_mode():
        for rows in length_batches(data.lengths, place):
            batch = collate(data, rows, place)
            with autocast(place, precision):
                model(**batch.inputs)
            vectors = watcher.rows(batch.inputs)
            assert vectors is not None
            found[rows] = vectors.cpu().numpy()
    return found
