"""Stage `predict`: raw logits of one artifact on every evaluation set of its task, in one process.

Everything that is scored later comes from the file written here, without a GPU.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftbench.config.strict import Strict


class Spec(Strict):
    artifact: str
    artifact_kind: str  # run, soup or base
    kind: str
    labels: list[str]
    prior_kind: str | None = None
    prior_labels: list[str] | None = None
    prior_words: float = 1.0  # of a prior text: share of a row's supervised words that must be right
    prior_head: str = "separate"  # shared: the artifact's own head is the prior task's
    prior_max_length: int | None = None  # of the prior task's rows, which are read as when it was trained
    max_length: int
    precision: str


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    from pyarrow import compute

    from ftbench.data.parquet import read_parquet_file
    from ftbench.tables.store import empty, write_table
    from ftbench.training.inference import batching, device
    from ftbench.training.optimization import resolved_precision
    from ftbench.training.token_statistics import OBJECTIVES

    header: dict[str, Any] = {"labels": spec.labels, "prior_labels": spec.prior_labels}
    header["batching"] = batching(device(), resolved_precision(spec.precision, device()))
    if "record" in inputs and json.loads(inputs["record"].read_text())["status"] == "failed":
        print("the artifact has no weights: nothing to predict", flush=True)
        write_table("predictions", empty("predictions"), outputs["predictions"], header)
        return
    evaluation = read_parquet_file(inputs["evaluation"])
    sets: dict[str, Any] = json.loads(inputs["audit"].read_text())["sets"]
    own = [name for name in sets if sets[name]["role"] != "prior"] if spec.artifact_kind != "base" else []
    prior = [name for name in sets if sets[name]["role"] == "prior"]

    def rows_of(name: str) -> Any:
        return evaluation.filter(compute.equal(evaluation.column("eval_set"), name))

    tables = []
    if own:
        model = _model(spec, inputs, prior=False)
        tables += [_predicted(spec, sets[name], rows_of(name), *model, spec.kind, spec.labels) for name in own]
    if prior and spec.prior_kind in OBJECTIVES:
        tables += [_words(spec, inputs, rows_of(name)) for name in prior]
    elif prior and spec.prior_labels is not None:
        model = _model(spec, inputs, prior=True)
        kind, labels = str(spec.prior_kind), spec.prior_labels
        tables += [_predicted(spec, sets[name], rows_of(name), *model, kind, labels) for name in prior]
    import pyarrow as pa

    write_table("predictions", pa.concat_tables(tables), outputs["predictions"], header)


def _model(spec: Spec, inputs: Mapping[str, Path], prior: bool) -> tuple[Any, Any]:
    """Model and tokenizer. For the prior set: the artifact's encoder under the head of the prior task (its
    pooler and classifier), which fine-tuning never trained, unless the study shares it with the tasks."""
    from ftbench.training.artifact import Artifact
    from ftbench.training.inference import device
    from ftbench.training.models import classifier_with, load_tokenizer
    from ftbench.training.weights import load_weights

    snapshot = inputs["base"].parent / "snapshot"
    tokenizer = load_tokenizer(snapshot)
    padding_id = tokenizer.pad_token_id
    if prior and not (spec.prior_head == "shared" and spec.artifact_kind != "base"):
        upstream = load_weights(inputs["start"])
        model = classifier_with(snapshot, spec.prior_labels or [], str(spec.prior_kind), upstream, padding_id)
        if spec.artifact_kind != "base":
            Artifact.of(inputs).put_encoder(model)
    else:
        model = Artifact.of(inputs).model(spec.labels, spec.kind, padding_id)
    return model.to(device()), tokenizer


def _words(spec: Spec, inputs: Mapping[str, Path], rows: Any) -> Any:
    """The rows of table `predictions` of a prior text: the artifact's encoder under the base model's own head."""
    from ftbench.data.predicted import predicted_words
    from ftbench.training.artifact import Artifact
    from ftbench.training.examples import encode, from_table
    from ftbench.training.inference import device
    from ftbench.training.models import language_model, load_tokenizer
    from ftbench.training.optimization import resolved_precision
    from ftbench.training.token_statistics import Question, word_counts

    snapshot, place = inputs["base"].parent / "snapshot", device()
    tokenizer, objective = load_tokenizer(snapshot), spec.prior_kind
    model = language_model(snapshot, str(objective))
    if spec.artifact_kind != "base":
        Artifact.of(inputs).put_encoder(model)
    question = Question(objective, tokenizer, spec.prior_words)  # type: ignore[arg-type]
    examples = from_table(rows, [], "text")
    data = encode(tokenizer, examples, spec.prior_max_length or spec.max_length)
    found = word_counts(
        model.to(place), question, data, examples.uids, place, resolved_precision(spec.precision, place)
    )
    print(f"{rows.column('eval_set')[0].as_py()}: {len(examples)} rows of text", flush=True)
    return predicted_words(spec.artifact, rows, found, spec.prior_words)


def _predicted(
    spec: Spec, described: dict[str, Any], rows: Any, model: Any, tokenizer: Any, kind: str, labels: list[str]
) -> Any:
    """The rows of table `predictions` for one evaluation set."""
    from ftbench.data.predicted import Rows, predicted
    from ftbench.training.examples import Examples, encode
    from ftbench.training.inference import device, logits
    from ftbench.training.optimization import resolved_precision

    second = rows.column("text_b").to_pylist()
    examples = Examples(
        rows.column("uid").to_pylist(),
        rows.column("text_a").to_pylist(),
        None if any(text is None for text in second) else second,
        None,
    )
    place = device()
    length = (spec.prior_max_length or spec.max_length) if described["role"] == "prior" else spec.max_length
    found = logits(model, encode(tokenizer, examples, length), place, resolved_precision(spec.precision, place))
    name = rows.column("eval_set")[0].as_py()
    value = rows.column("value").to_numpy(zero_copy_only=False) if kind == "regression" else None
    about = Rows(name, rows.column("role")[0].as_py(), examples.uids, rows.column("label").to_pylist(), value)
    print(f"{name}: {len(about)} rows", flush=True)
    return predicted(spec.artifact, about, found, kind, labels, described)
