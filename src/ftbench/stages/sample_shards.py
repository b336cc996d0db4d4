"""Shards of the stage `pretrain_samples`: a part of the rows judged by the model, and all parts made one table.

What has to look at all rows at once (tenths of the loss, repeated texts, clusters) happens in `finish`, which
reads single columns: about 20 bytes a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from ftbench.stages.pretrain_samples import Spec

SAMPLED = 10_000  # rows that clusters are found from
MODEL_KINDS = ("classification", "regression")


class Judge:
    """The model before fine-tuning, ready to judge parts of the rows."""

    def __init__(self, spec: Spec, inputs: Mapping[str, Path]) -> None:
        from ftbench.training.inference import device
        from ftbench.training.models import classifier_with, language_model, load_tokenizer
        from ftbench.training.optimization import resolved_precision
        from ftbench.training.sample_statistics import HeadInput
        from ftbench.training.weights import load_weights, plain_state, weights_hash

        self.spec, self.place = spec, device()
        snapshot = inputs["base"].parent / "snapshot"
        self.tokenizer = load_tokenizer(snapshot)
        self.head: HeadInput | None = None
        if spec.kind in MODEL_KINDS:
            weights = load_weights(inputs["start"])
            model = classifier_with(snapshot, spec.labels, spec.kind, weights, self.tokenizer.pad_token_id)
            self.head = HeadInput.of(model)
        else:
            model = language_model(snapshot, spec.kind)
        self.base_id = weights_hash(plain_state(model))[:16]
        self.model = model.to(self.place).eval()
        self.precision = resolved_precision(spec.precision, self.place)

    def judged(self, rows: pa.Table, role: str) -> pa.Table:
        """The columns of `pretrain_samples` for some rows, without those that need all rows; with `feature` where
        clusters are asked for. Losses that are not finite raise an `FtbenchError`."""
        import numpy as np
        import pyarrow as pa

        from ftbench.data.prior import hashes
        from ftbench.training.examples import encode, from_table

        spec = self.spec
        labelled = spec.kind if spec.kind in MODEL_KINDS else "text"
        examples = from_table(rows, spec.labels, labelled)
        data = encode(self.tokenizer, examples, spec.max_length)
        measured, features = self._measured(examples, data)
        odd = np.flatnonzero(~np.isfinite(measured["prior_loss"]))
        if len(odd):
            raise FtbenchError(
                f"prior {spec.prior}: found {len(odd)} rows whose loss under `{spec.model}` is not a number, the first "
                f"with uid {examples.uids[odd[0]]}. The weights are damaged, or the prior training diverged: lower "
                "`prior.training.learning_rate` and train it again."
            )
        count = len(examples)
        lengths = [len(text) for text in examples.text_a]
        if examples.text_b:
            lengths = [first + len(second) for first, second in zip(lengths, examples.text_b, strict=True)]
        columns: dict[str, Any] = {
            "model": [spec.model] * count,
            "prior_set": [spec.prior] * count,
            "uid": rows.column("uid"),
            "base_id": [self.base_id] * count,
            "role": [role] * count,
            "text_hash": hashes(rows),
            "label": rows.column("label"),
            "value": rows.column("value"),
            "n_tokens": data.lengths,
            "n_chars": lengths,
            **measured,
        }
        if "aux" in rows.column_names:
            columns["aux"] = rows.column("aux")
        if features is not None:
            columns["feature"] = pa.FixedSizeListArray.from_arrays(
                pa.array(features.astype(np.float16).reshape(-1)), features.shape[1]
            )
        return pa.table(columns)

    def _measured(self, examples: Any, data: Any) -> tuple[dict[str, Any], NDArray[np.float32] | None]:
        import numpy as np
        import pyarrow as pa
        import torch

        from ftbench.training.batches import collate
        from ftbench.training.inference import autocast, length_batches
        from ftbench.training.sample_statistics import classification, regression
        from ftbench.training.token_statistics import Question, token_statistics

        spec = self.spec
        if spec.kind not in MODEL_KINDS:
            objective: Any = spec.kind
            question = Question(objective, self.tokenizer, spec.words)
            return token_statistics(self.model, question, data, examples.uids, self.place, self.precision), None
        assert self.head is not None
        width = len(spec.labels) if spec.kind == "classification" else 1
        logits = np.empty((len(data), width), dtype=np.float32)
        norms = np.empty(len(data), dtype=np.float64)
        features: NDArray[np.float32] | None = None
        linear = False
        with torch.inference_mode():
            for chosen in length_batches(data.lengths, self.place):
                batch = collate(data, chosen, self.place)
                with autocast(self.place, self.precision):
                    output = self.model(**batch.inputs).logits
                logits[chosen] = output.float().cpu().numpy()
                read = self.head.rows(batch.inputs)
                if read is not None:
                    linear = True
                    norms[chosen] = read.norm(dim=1).cpu().numpy()
                    if spec.clusters:
                        if features is None:
                            features = np.empty((len(data), read.shape[1]), dtype=np.float32)
                        features[chosen] = read.cpu().numpy()
        if spec.kind == "regression":
            found = regression(logits, examples.targets, float(spec.width or 0.0), norms if linear else None)
            return {**found, "prior_logits": pa.array(logits.tolist(), pa.list_(pa.float32()))}, features
        found = classification(logits, examples.targets, norms if linear else None)
        names = np.array(spec.labels, dtype=object)
        predicted = names[found.pop("predicted")]
        return {
            **found,
            "prior_pred": predicted,
            "prior_logits": pa.FixedSizeListArray.from_arrays(pa.array(logits.reshape(-1)), width).cast(
                pa.list_(pa.float32())
            ),
        }, features


def finish(spec: Spec, shards: list[Path], target: Path) -> dict[str, int]:
    """Join the shards: a text once, none of the pool's among the rows to evaluate, tenths of the pool's loss.

    Returns rows of the pool, right ones among them, rows to evaluate, and rows left out.
    """
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute, parquet

    from ftbench.data.bins import LOSS_BINS, bin_numbers, quantile_edges
    from ftbench.tables.streamed import TableWriter

    kept, losses = _kept(shards)
    counts = {"pool": len(losses), "correct": 0, "evaluation": 0, "repeated": sum(int((~mask).sum()) for mask in kept)}
    if not len(losses):
        return counts
    edges = quantile_edges(losses, LOSS_BINS)
    clusters = _clusters(spec, shards, kept)
    with TableWriter("pretrain_samples", target, {"width": spec.width}) as writer:
        for shard, mask in zip(shards, kept, strict=True):
            rows = parquet.read_table(shard).filter(pa.array(mask))
            found = rows.column("prior_loss").to_numpy()
            rows = rows.append_column("loss_bin", pa.array(bin_numbers(found, edges)))
            if clusters is not None:
                rows = rows.append_column("cluster", pa.array(clusters.predict(_features(rows)).astype(np.int64)))
            if "feature" in rows.column_names:
                rows = rows.drop_columns(["feature"])
            writer.write(rows)
            pool = rows.filter(compute.equal(rows.column("role"), "rehearsal_pool"))
            counts["correct"] += int(compute.sum(pool.column("prior_correct")).as_py() or 0)
            counts["evaluation"] += rows.num_rows - pool.num_rows
    return counts


def _kept(shards: list[Path]) -> tuple[list[NDArray[np.bool_]], NDArray[np.float32]]:
    """Which rows of each shard stay, and the losses of those of the pool."""
    import numpy as np
    from pyarrow import parquet

    hashes, roles, losses = [], [], []
    for shard in shards:
        part = parquet.read_table(shard, columns=["text_hash", "role", "prior_loss"])
        hashes.append(np.array([int(text[:16], 16) for text in part.column("text_hash").to_pylist()], dtype=np.uint64))
        roles.append(np.full(part.num_rows, part.column("role")[0].as_py() == "prior_eval"))
        losses.append(part.column("prior_loss").to_numpy().astype(np.float32))
    if not shards:
        return [], np.zeros(0, dtype=np.float32)
    every, held = np.concatenate(hashes), np.concatenate(roles)
    # rows of the pool come first: of a text on both sides, the evaluation row goes
    order = np.concatenate([np.flatnonzero(~held), np.flatnonzero(held)])
    _, first = np.unique(every[order], return_index=True)
    keep = np.zeros(len(every), dtype=bool)
    keep[order[first]] = True
    masks = np.split(keep, np.cumsum([len(part) for part in hashes])[:-1])
    return masks, np.concatenate(losses)[keep & ~held]


def _features(rows: pa.Table) -> NDArray[np.float32]:
    import numpy as np

    values = rows.column("feature").combine_chunks()
    return np.asarray(values.flatten().to_numpy(), dtype=np.float32).reshape(rows.num_rows, -1)


def _clusters(spec: Spec, shards: list[Path], kept: list[NDArray[np.bool_]]) -> Any:
    """k-means on a fixed sample of the features; None without clusters."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet
    from sklearn.cluster import KMeans

    if not spec.clusters or spec.kind not in MODEL_KINDS:
        return None
    total = sum(int(mask.sum()) for mask in kept)
    if total < spec.clusters:
        raise FtbenchError(f"prior {spec.prior}: found {total} rows; `prior.clusters` asks for {spec.clusters}")
    share = min(1.0, SAMPLED / total)
    draw = np.random.default_rng(0)
    sampled = []
    for shard, mask in zip(shards, kept, strict=True):
        chosen = mask & (draw.random(len(mask)) < share)
        sampled.append(_features(parquet.read_table(shard, columns=["feature"]).filter(pa.array(chosen))))
    return KMeans(spec.clusters, n_init=4, random_state=0).fit(np.concatenate(sampled))
