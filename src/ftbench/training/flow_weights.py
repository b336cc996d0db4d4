"""FLOW's weights from losses under the pretrained model, and the ways to give that model a head.

Paper: Sanyal et al. (2025), Upweighting Easy Samples in Fine-Tuning Mitigates Forgetting. w = exp(-loss / tau), tau
the median loss, so that the median row weighs 1/e whatever the scale of the losses.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError

if TYPE_CHECKING:
    import torch

    from ftbench.training.method import Context

LEAST_TAU = 1e-8


def temperature(losses: torch.Tensor) -> float:
    """The median loss, the mean of the middle two where their number is even; at least 1e-8, with a warning."""
    import torch

    tau = float(torch.quantile(losses.double(), 0.5))
    if tau < LEAST_TAU:
        warnings.warn("FLOW: more than half of the losses are 0; tau is set to 1e-8", stacklevel=2)
    return max(tau, LEAST_TAU)


def row_factors(losses: torch.Tensor, tau: float, normalize: str) -> torch.Tensor:
    """What each row's loss is multiplied with (rows,), float64: its weight, or the mean of those of its tokens.

    losses: (rows,) of rows or (rows, tokens) of tokens. normalize: `none`, or `mean1` for weights whose mean over all
    rows or tokens is 1.
    """
    weights = easy_weights(losses, tau)
    if normalize == "mean1":
        weights = weights / weights.mean()
    return weights if weights.ndim == 1 else weights.mean(dim=1)


def easy_weights(losses: torch.Tensor, tau: float) -> torch.Tensor:
    """w = exp(-loss / tau), of the shape of `losses`, float64."""
    return (-losses.double() / tau).exp()


def token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Losses of the next token, 0 where it is not supervised. logits: (rows, tokens, words); labels: (rows, tokens),
    -100 where ignored; result (rows, tokens - 1)."""
    from torch.nn import functional

    return functional.cross_entropy(logits[:, :-1].transpose(1, 2).float(), labels[:, 1:], reduction="none")


def sequence_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean loss of each row's supervised tokens (rows,), the supervised ones counted before the shift."""
    return token_losses(logits, labels).sum(dim=1) / (labels != -100).sum(dim=1)


def probe_losses(features: torch.Tensor, targets: torch.Tensor, decay: float = 1.0) -> torch.Tensor:
    """Losses (rows,) of a linear probe that is fitted to the rows. features: (rows, width); targets: (rows,).

    Multinomial logistic regression on standardised features, summed cross-entropy + decay/2 |W|^2, by L-BFGS from
    zero in float64: no randomness, and no setting that would have to be searched.
    """
    import torch
    from torch.nn import functional

    values = features.double()
    values = (values - values.mean(dim=0)) / values.std(dim=0, unbiased=False).clamp_min(1e-8)
    weight = torch.zeros((int(targets.max()) + 1, values.shape[1]), dtype=torch.float64, device=values.device)
    bias = torch.zeros(len(weight), dtype=torch.float64, device=values.device)
    weight.requires_grad_()
    bias.requires_grad_()
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=500, tolerance_grad=1e-6, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        solver.zero_grad()
        loss = functional.cross_entropy(values @ weight.T + bias, targets, reduction="sum")
        loss = loss + 0.5 * decay * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return functional.cross_entropy(values @ weight.T + bias, targets, reduction="none")


def pooled_features(context: Context) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean last hidden states (rows, width) and targets (rows,) of the training rows, in their order."""
    import torch

    backbone = getattr(context.model, str(context.model.base_model_prefix))
    found: dict[int, torch.Tensor] = {}
    targets: dict[int, torch.Tensor] = {}
    training = context.model.training
    context.model.eval()
    assert context.batches is not None
    with torch.no_grad():
        for batch in context.batches():
            assert batch.targets is not None
            states = backbone(**batch.inputs).last_hidden_state.float()
            mask = batch.inputs["attention_mask"][..., None].float()
            means = (states * mask).sum(dim=1) / mask.sum(dim=1)
            for position, row in enumerate(batch.rows):
                found[int(row)], targets[int(row)] = means[position], batch.targets[position]
    context.model.train(training)
    order = sorted(found)
    return torch.stack([found[row] for row in order]), torch.stack([targets[row] for row in order])


def refuse_untrained(losses: torch.Tensor, chance: float, spread: float = 0.05) -> None:
    """Refuse losses (rows,) that all lie at `chance`, that of guessing (log C): those of a head that knows nothing,
    under which all rows weigh 1/e."""
    middle = losses.double().quantile(0.5).item()
    width = (losses.double().quantile(0.9) - losses.double().quantile(0.1)).item()
    if abs(middle - chance) < spread * chance and width < 2 * spread * chance:
        raise FtbenchError(
            f"flow: found losses around {middle:.3f}, which is the {chance:.3f} of guessing up to {width:.3f}: the "
            "head knows nothing, all rows would weigh 1/e and the method would only lower the learning rate. Give it a "
            "trained head: `head: linear_probe`, `head: prior` with a trained prior task, or `head: verbaliser`."
        )


def prior_head_losses(context: Context) -> torch.Tensor:
    """Losses (rows,) of the training rows under the prior task's head, which must have the task's labels."""
    import torch

    from ftbench.training.prior_task import PriorModel, needed

    if not needed(context).same_labels:
        raise FtbenchError(
            "flow, `head: prior`: found a prior task with other labels than the task's, or in another order. "
            "Use `head: linear_probe`."
        )
    model, training = PriorModel(context), context.model.training
    context.model.eval()
    assert context.batches is not None
    found: dict[int, float] = {}
    with torch.no_grad():
        for batch in context.batches():
            losses = model.prior.row_losses(model.logits(context, batch), batch)
            found.update(zip(batch.rows.tolist(), losses.tolist(), strict=True))
    context.model.train(training)
    return torch.tensor([found[row] for row in sorted(found)], dtype=torch.float64)
