"""What a model knows of labelled rows: numbers per row from its logits and from what its last layer reads.

Stage `pretrain_samples` calls this for a part of the pool at a time; nothing here grows with the pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftbench.training.layers import is_head

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

Columns = dict[str, "NDArray[Any]"]


@dataclass
class HeadInput:
    """Watches what the last linear layer of a classifier reads: (rows, width), one vector a row.

    `layer` is None for a head whose last step is not linear; then nothing is seen.
    """

    layer: torch.nn.Linear | None
    seen: torch.Tensor | None = None

    @classmethod
    def of(cls, model: torch.nn.Module) -> HeadInput:
        import torch

        outputs = int(model.config.num_labels)  # type: ignore[union-attr,arg-type]
        layers = [
            module
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and module.out_features == outputs and is_head(name, model)
        ]
        watcher = cls(layers[-1] if layers else None)
        if watcher.layer is not None:
            watcher.layer.register_forward_pre_hook(watcher._remember)
        return watcher

    def _remember(self, _: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.seen = inputs[0].detach()

    def rows(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor | None:
        """The vectors of the batch that was just passed through, fp32."""
        import torch

        if self.seen is None:
            return None
        if self.seen.ndim == 2:
            return self.seen.float()
        # decoders judge every token and keep the last one that is no padding
        mask = inputs["attention_mask"]
        last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(dim=1)
        return self.seen[torch.arange(len(mask), device=mask.device), last].float()


def classification(logits: np.ndarray, targets: np.ndarray, head_norms: np.ndarray | None) -> Columns:
    """Columns of labelled rows. logits: (rows, labels); targets: (rows,); head_norms: (rows,) norms of what the
    last layer reads, or None.

    The norm of the gradient with respect to the last layer's weight is |p - e_y| |h|, where that layer is linear.
    """
    import numpy as np

    values = logits.astype(np.float64)
    rows = np.arange(len(values))
    highest = values.max(axis=1, keepdims=True)
    total = highest[:, 0] + np.log(np.exp(values - highest).sum(axis=1))
    probabilities = np.exp(values - total[:, None])
    true = probabilities[rows, targets]
    ordered = np.sort(probabilities, axis=1)
    away = probabilities.copy()
    away[rows, targets] -= 1
    found: Columns = {
        "predicted": values.argmax(axis=1),
        "prior_correct": values.argmax(axis=1) == targets,
        "prior_loss": np.maximum(total - values[rows, targets], 0),
        "prior_p_true": true,
        "prior_margin": ordered[:, -1] - ordered[:, -2],
        "prior_entropy": np.maximum(-(probabilities * np.log(np.clip(probabilities, 1e-300, None))).sum(axis=1), 0),
        "prior_energy": -total,
    }
    if head_norms is not None:
        found["prior_grad_norm_head"] = np.linalg.norm(away, axis=1) * head_norms
    return found


def regression(logits: np.ndarray, targets: np.ndarray, width: float, head_norms: np.ndarray | None) -> Columns:
    """Columns of scored rows. logits: (rows, 1); `width` is how far off a prediction may be and count as right.

    The loss is the squared error; its gradient with respect to a linear last layer has the norm 2 |error| |h|.
    """
    import numpy as np

    error = logits[:, 0].astype(np.float64) - targets
    found: Columns = {
        "prior_pred_value": logits[:, 0].astype(np.float64),
        "prior_correct": np.abs(error) <= width,
        "prior_loss": error**2,
    }
    if head_norms is not None:
        found["prior_grad_norm_head"] = 2 * np.abs(error) * head_norms
    return found
