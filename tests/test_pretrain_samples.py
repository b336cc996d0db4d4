"""Stage `pretrain_samples`: its numbers, its bins, its disjointness, and what it does when stopped or fed badly."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from prior_rows import LABELS, Materials, prior_rows
from safetensors.torch import load_file, save_file
from scipy import special, stats

from ftbench.config.errors import FtbenchError
from ftbench.outputs import Stopped
from ftbench.stages import pretrain_samples
from ftbench.training.models import load_tokenizer


@pytest.fixture
def materials(tmp_path: Path) -> Materials:
    return Materials(tmp_path, prior_rows(150, 40))


def one_row(materials: Materials, text: str) -> torch.Tensor:
    tokenizer = load_tokenizer(materials.folder / "snapshot")
    return materials.model.eval()(**tokenizer(text, return_tensors="pt")).logits


def test_every_column_is_what_a_forward_pass_of_the_row_alone_gives(materials: Materials) -> None:
    table = materials.run().to_pylist()
    texts = dict(zip(*(materials_rows(materials)[name] for name in ("uid", "text_a")), strict=True))
    assert len(table) == 190
    for row in table[::17]:
        logits = one_row(materials, texts[row["uid"]])[0]
        target = LABELS.index(row["label"])
        probabilities = special.softmax(logits.detach().double().numpy())
        ordered = np.sort(probabilities)
        materials.model.zero_grad()
        torch.nn.functional.cross_entropy(logits[None], torch.tensor([target])).backward()
        expected = {
            "prior_loss": -math.log(probabilities[target]),
            "prior_p_true": probabilities[target],
            "prior_margin": ordered[-1] - ordered[-2],
            "prior_entropy": stats.entropy(probabilities),
            "prior_energy": -special.logsumexp(logits.detach().double().numpy()),
            "prior_grad_norm_head": float(materials.model.classifier.weight.grad.norm()),
        }
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert row["prior_logits"] == pytest.approx(logits.tolist(), abs=1e-4)
        assert row["prior_pred"] == LABELS[int(logits.argmax())]
        assert row["prior_correct"] == (row["prior_pred"] == row["label"])
        assert row["n_tokens"] == len(texts[row["uid"]].split())
        assert row["n_chars"] == len(texts[row["uid"]])


def materials_rows(materials: Materials) -> dict[str, list[Any]]:
    from pyarrow import parquet

    return parquet.read_table(materials.folder / "prepared.parquet").to_pydict()


def test_loss_bins_hold_a_tenth_of_the_pool_each_in_the_order_of_the_loss(materials: Materials) -> None:
    table = materials.run().to_pandas()
    pool = table[table.role == "rehearsal_pool"]
    assert pool.groupby("loss_bin").size().tolist() == [15] * 10
    ends = pool.groupby("loss_bin").prior_loss.agg(["min", "max"])
    assert (ends["min"].to_numpy()[1:] >= ends["max"].to_numpy()[:-1]).all()
    held = table[table.role == "prior_eval"]  # judged by the pool's edges
    lower, upper = ends["max"].shift(1).fillna(-1), ends["min"].shift(-1).fillna(math.inf)
    for row in held.itertuples():
        assert lower[row.loss_bin] <= row.prior_loss <= upper[row.loss_bin]


def test_repeated_texts_go_and_a_text_on_both_sides_stays_in_the_pool_alone(tmp_path: Path) -> None:
    rows = prior_rows(30, 20)
    texts = rows.column("text_a").to_pylist()
    texts[1] = texts[0].upper() + "!"  # the pool's first text in other letters
    texts[30], texts[31], texts[32] = texts[5], texts[33], "w1 w2"
    rows = rows.set_column(rows.schema.get_field_index("text_a"), "text_a", pa.array(texts))
    table = Materials(tmp_path, rows).run().to_pandas()
    kept = {role: set(part.uid) for role, part in table.groupby("role")}
    assert kept["rehearsal_pool"] == {f"u{number}" for number in range(30)} - {"u1"}
    assert kept["prior_eval"] == {f"u{number}" for number in range(30, 50)} - {"u30", "u33"}
    assert not set(table[table.role == "rehearsal_pool"].text_hash) & set(table[table.role == "prior_eval"].text_hash)


def test_shards_change_nothing_and_a_stopped_job_goes_on_behind_the_last_one(
    materials: Materials, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = materials.run()
    monkeypatch.setattr(pretrain_samples, "SHARD", 32)
    judged: list[int] = []
    from ftbench.stages.sample_shards import Judge

    plain = Judge.judged

    def stop_in_the_third(self: Judge, rows: pa.Table, role: str) -> pa.Table:
        judged.append(rows.num_rows)
        if len(judged) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, rows, role)

    monkeypatch.setattr(Judge, "judged", stop_in_the_third)
    with pytest.raises(Stopped):
        materials.run()
    assert len(judged) == 3
    assert not (materials.folder / ".samples.partial.samples.parquet").exists()
    resumed = materials.run()
    assert sum(judged) == 190  # nothing was judged twice
    assert resumed.drop_columns(["prior_logits"]).equals(whole.drop_columns(["prior_logits"])) or np.allclose(
        resumed.column("prior_loss"), whole.column("prior_loss"), atol=1e-6
    )
    assert resumed.column("uid").equals(whole.column("uid"))


def test_the_pool_is_what_the_model_was_trained_on(materials: Materials) -> None:
    table = materials.run(rows=60).to_pandas()
    pool = table[table.role == "rehearsal_pool"]
    assert len(pool) == 60
    assert len(table) == 100
    shares = pool.label.value_counts(normalize=True)
    rows = materials_rows(materials)
    whole = [label for label, split in zip(rows["label"], rows["split"], strict=True) if split == "pool"]
    for label in LABELS:  # stratified by label
        assert shares[label] == pytest.approx(whole.count(label) / len(whole), abs=0.02)


def test_clusters_are_asked_for_and_cover_the_rows(materials: Materials) -> None:
    assert materials.run().column("cluster").null_count == 190
    clusters = materials.run(clusters=4).column("cluster").to_pylist()
    assert set(clusters) == {0, 1, 2, 3}


def test_a_regression_has_squared_errors_and_counts_as_right_within_the_width(tmp_path: Path) -> None:
    materials = Materials(tmp_path, prior_rows(40, 10, kind="regression"), "regression")
    for row in materials.run(width=0.5).to_pylist():
        error = row["prior_pred_value"] - row["value"]
        assert row["prior_loss"] == pytest.approx(error**2, rel=1e-5)
        assert row["prior_correct"] == (abs(error) <= 0.5)
        assert (row["prior_pred"], row["prior_p_true"], row["label"]) == (None, None, None)


def test_a_masked_model_is_asked_for_the_same_words_whatever_stands_beside_them(tmp_path: Path) -> None:
    materials = Materials(tmp_path, prior_rows(40, 10, kind="masked"), "masked")
    table = materials.run()
    for row in table.to_pylist():
        assert row["lm_tokens"] == max(1, round(0.15 * row["n_tokens"]))
        assert row["prior_loss"] == pytest.approx(row["lm_loss_sum"] / row["lm_tokens"], rel=1e-5)
    # by hand, one row at a time
    from transformers import AutoModelForMaskedLM

    from ftbench.training.token_statistics import hidden_positions

    model = AutoModelForMaskedLM.from_pretrained(materials.folder / "snapshot").eval()
    tokenizer = load_tokenizer(materials.folder / "snapshot")
    texts = dict(zip(*(materials_rows(materials)[name] for name in ("uid", "text_a")), strict=True))
    for row in table.to_pylist()[:5]:
        ids = tokenizer(texts[row["uid"]], return_tensors="pt")["input_ids"]
        places = hidden_positions(ids[0].numpy(), set(tokenizer.all_special_ids), row["uid"])
        masked = ids.clone()
        masked[0, places] = tokenizer.mask_token_id
        shares = model(input_ids=masked).logits[0].log_softmax(-1)
        assert row["lm_loss_sum"] == pytest.approx(-float(shares[places, ids[0, places]].sum()), rel=1e-4)


def test_losses_that_are_no_numbers_are_refused_with_a_row_and_what_to_do(materials: Materials) -> None:
    weights = load_file(materials.folder / "start.safetensors")
    weights["classifier.bias"][:] = float("nan")
    save_file(weights, materials.folder / "start.safetensors", {"format": "pt"})
    with pytest.raises(
        FtbenchError, match=r"150 rows whose loss .* not a number, the first with uid u0.*learning_rate"
    ):
        materials.run()


def test_an_empty_pool_is_refused_with_its_key(materials: Materials) -> None:
    with pytest.raises(FtbenchError, match=r"no rows in split `elsewhere` \(key `prior.pool`\)"):
        materials.run(pool="elsewhere")


def test_too_few_rows_for_the_clusters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FtbenchError, match=r"found 8 rows; `prior\.clusters` asks for 20"):
        Materials(tmp_path, prior_rows(6, 2)).run(clusters=20)
