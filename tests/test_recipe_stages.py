"""Every recipe put through the stage `soup`, and stages `ensemble` and `path`, on runs of a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from data_stages import NAMES, audited, cut, fetched, prepared, rows
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_soup_stage import OUTPUTS, snapshot

from ftbench.config.errors import FtbenchError
from ftbench.config.study import Training
from ftbench.plugins import plugins
from ftbench.stage import execute
from ftbench.stages import audit
from ftbench.tables.store import metadata, read_table, write_table
from ftbench.training.weights import file_digest

LABELS = list(NAMES)
RECIPES = {name: found.factory for name, found in plugins("soups").items()}
# fewer trials than by default, where a recipe tries
QUICK: dict[str, dict[str, Any]] = {
    "wise_ft": {"alphas": [0.3, 0.8]}, "fisher": {"examples": 4}, "regmean": {"examples": 8},
    "learned": {"epochs": 1, "batch_size": 8},
    **{name: {"scales": [0.2, 0.5]} for name in ("task_arithmetic", "ties", "dare", "della", "breadcrumbs")},
}  # fmt: skip


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs a little apart from one start, with records that tell so, and all that stages read beside them."""
    from ftbench.training.models import new_classifier
    from ftbench.training.seeds import derived
    from ftbench.training.weights import plain_state, weights_hash

    folder = tmp_path_factory.mktemp("family")
    prepared(fetched(folder, {"train": rows(40), "test": rows(12, text="number text")}))
    cut(folder, select={"rows": 12})
    sets = {"test": audit.SetSpec(dataset="reviews", split="test", role="id", kind="classification", labels=LABELS)}
    audited(folder, sets, {"reviews": folder / "prepared.parquet"})
    base = snapshot(folder / "snapshot")
    (folder / "base.json").write_text("{}")
    start = plain_state(new_classifier(base, LABELS, "classification", derived(0, "init")))
    generator = torch.Generator().manual_seed(0)
    for number, score in enumerate([0.5, 0.75, 0.5]):
        moved = {
            name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator)
            if tensor.is_floating_point()
            else tensor
            for name, tensor in start.items()
        }
        save_file(moved, folder / f"m{number}.safetensors")
        record = {
            "run_id": f"runs/s{number}", "status": "success", "error": None, "labels": LABELS, "select_score": score,
            "kind": "classification", "init_hash": weights_hash(start), "init_seed": 0, "seed": number, "methods": [],
            "config_json": json.dumps({"training": Training().model_dump(mode="json")}),
            "checkpoint_sha256": file_digest(folder / f"m{number}.safetensors"),
        }  # fmt: skip
        (folder / f"r{number}.json").write_text(json.dumps(record))
    return folder


def about(numbers: list[int]) -> dict[str, Any]:
    """What specs of several stages share."""
    return {
        "study": "small", "task": "reviews", "model": "tiny", "method": "vanilla", "variant": None, "family": "mine",
        "ingredients": [f"runs/s{number}" for number in numbers], "kind": "classification", "labels": LABELS,
        "max_length": 8,
    }  # fmt: skip


def inputs_of(family: Path, numbers: list[int]) -> dict[str, Path]:
    inputs = {name: family / f"{name}.parquet" for name in ("select", "evaluation")}
    inputs |= {"base": family / "base.json", "audit": family / "audit.json"}
    for position, number in enumerate(numbers):
        inputs |= {
            f"record{position}": family / f"r{number}.json",
            f"model{position}": family / f"m{number}.safetensors",
        }
    return inputs


def cook(
    family: Path, place: Path, recipe: str, numbers: list[int], settings: dict[str, Any] | None = None, **more: Any
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    factory = RECIPES[recipe]
    config = factory.Config.model_validate(QUICK.get(recipe, {}) if settings is None else settings)
    spec = {
        **about(numbers), "artifact": "soups/x", "recipe": recipe, "config": config.model_dump(mode="json"),
        "select_metric": "accuracy", **more,
    }  # fmt: skip
    outputs = {name: place / file for name, file in OUTPUTS.items()}
    execute("soup", spec, inputs_of(family, numbers), outputs, place / ".work", "source")
    return load_file(outputs["model"]), json.loads(outputs["record"].read_text())


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_makes_one_finite_model_whatever_the_order_of_its_runs(
    family: Path, tmp_path: Path, recipe: str
) -> None:
    one, first = cook(family, tmp_path / "a", recipe, [0, 1, 2])
    other, second = cook(family, tmp_path / "b", recipe, [2, 0, 1])
    run = load_file(family / "m0.safetensors")
    assert {name: tensor.shape for name, tensor in one.items()} == {name: tensor.shape for name, tensor in run.items()}
    assert all(torch.isfinite(tensor).all() for tensor in one.values() if tensor.is_floating_point())
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert first["ingredients"] == second["ingredients"]
    assert first["details"] == second["details"]
    assert 0 <= first["select_score"] <= 1
    assert first["checkpoint_sha256"] == second["checkpoint_sha256"]
    with safe_open(tmp_path / "a" / "model.safetensors", framework="pt") as opened:
        header = opened.metadata()
    assert header["recipe"] == recipe
    assert json.loads(header["ingredients"]).keys() <= {"runs/s0", "runs/s1", "runs/s2"}
    assert "ftbench" in json.loads(header["versions"])
    assert "# soups/x" in (tmp_path / "a" / "README.md").read_text()


@pytest.mark.parametrize("recipe", [name for name, factory in RECIPES.items() if factory.keeps_one])
def test_of_one_run_a_recipe_makes_that_run_bit_by_bit(family: Path, tmp_path: Path, recipe: str) -> None:
    soup, written = cook(family, tmp_path, recipe, [1])
    run = load_file(family / "m1.safetensors")
    assert all(soup[name].numpy().tobytes() == run[name].numpy().tobytes() for name in run)
    assert (written["n_candidates"], written["n_ingredients"]) == (1, 1)


def test_a_start_that_does_not_fit_the_runs_is_refused(family: Path, tmp_path: Path) -> None:
    inputs = inputs_of(family, [0, 1])
    for position in range(2):
        record = json.loads(inputs[f"record{position}"].read_text())
        (tmp_path / f"r{position}.json").write_text(json.dumps({**record, "init_seed": 1}))
        inputs[f"record{position}"] = tmp_path / f"r{position}.json"
    config = RECIPES["model_stock"].Config().model_dump(mode="json")
    spec = {
        **about([0, 1]),
        "artifact": "soups/x",
        "recipe": "model_stock",
        "config": config,
        "select_metric": "accuracy",
    }
    outputs = {name: tmp_path / file for name, file in OUTPUTS.items()}
    with pytest.raises(FtbenchError, match=r"runs/s0: its weights before the first step cannot be rebuilt"):
        execute("soup", spec, inputs, outputs, tmp_path / ".work", "source")


def test_a_stopped_greedy_soup_does_not_try_again_what_it_tried(
    family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftbench.soups.laboratory import Laboratory

    asked: list[int] = []
    real = Laboratory.score_model

    def counted(self: Laboratory) -> float:
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(Laboratory, "score_model", counted)
    with pytest.raises(KeyboardInterrupt):
        cook(family, tmp_path, "greedy", [0, 1, 2])
    assert [place.name for place in tmp_path.iterdir()] == [".work"]  # nothing that reads as a result
    asked += [0]
    _, written = cook(family, tmp_path, "greedy", [0, 1, 2])
    assert sum(asked) - 2 == 2  # the second trial, and the soup as it lies on the disk
    assert sum(item["trial_score"] is not None for item in written["ingredients"]) == 2
    assert not (tmp_path / ".work").exists() or not list((tmp_path / ".work").rglob("trials.json"))


def test_a_learnt_soup_is_compared_on_rows_that_it_did_not_learn_from(family: Path, tmp_path: Path) -> None:
    _, written = cook(
        family, tmp_path, "learned", [0, 1, 2], {"granularity": "block", "learnt_share": 0.5, "epochs": 2}
    )
    assert written["details"]["learnt_rows"] + written["select_rows"] == 12
    groups = written["details"]["group_weights"]
    assert set(groups) == {"embeddings", "block 0", "top", "head"}
    assert all(sum(shares.values()) == pytest.approx(1) for shares in groups.values())
    assert all(item["weight"] is None for item in written["ingredients"])


@pytest.mark.parametrize("policy", ["leave_out", "keep", "refuse"])
def test_collapsed_runs_are_treated_as_the_study_says(family: Path, tmp_path: Path, policy: str) -> None:
    inputs = inputs_of(family, [0, 1])
    record = json.loads(inputs["record1"].read_text())
    (tmp_path / "r.json").write_text(json.dumps({**record, "status": "collapsed", "error": "no better"}))
    inputs["record1"] = tmp_path / "r.json"
    spec = {
        **about([0, 1]), "artifact": "soups/x", "recipe": "uniform", "config": {}, "select_metric": "accuracy",
        "collapsed": policy,
    }  # fmt: skip
    outputs = {name: tmp_path / file for name, file in OUTPUTS.items()}
    if policy == "refuse":
        with pytest.raises(FtbenchError, match="runs/s1 has collapsed"):
            execute("soup", spec, inputs, outputs, tmp_path / ".work", "source")
        return
    execute("soup", spec, inputs, outputs, tmp_path / ".work", "source")
    written = json.loads(outputs["record"].read_text())
    assert written["n_candidates"] == (1 if policy == "leave_out" else 2)
    assert written["left_out"] == ({"runs/s1": "collapsed: no better"} if policy == "leave_out" else {})
    assert ("left out: collapsed: no better" in outputs["card"].read_text()) == (policy == "leave_out")


def test_the_gradient_of_a_learnt_mean_is_that_of_automatic_differentiation(family: Path, tmp_path: Path) -> None:
    """Through the mixed weights themselves, built as a function of the learnt numbers."""
    from contextlib import ExitStack

    from torch.func import functional_call

    from ftbench.merging.source import open_ingredient
    from ftbench.soups.learned import Mixture
    from ftbench.soups.opening import laboratory_for
    from ftbench.stages.soup import Spec

    spec = Spec.model_validate(
        {**about([0, 1]), "artifact": "x", "recipe": "learned", "config": {}, "select_metric": "accuracy"}
    )
    inputs = inputs_of(family, [0, 1])
    with ExitStack() as stack:
        sources = {f"runs/s{i}": stack.enter_context(open_ingredient(inputs[f"model{i}"])) for i in range(2)}
        laboratory = laboratory_for(spec, "accuracy", inputs, sources, tmp_path)
        mixture = Mixture(laboratory, list(sources), "tensor")
        with torch.no_grad():
            mixture.a += torch.randn(mixture.a.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        batch = next(iter(laboratory.batches(np.arange(12), 12)))
        loss = mixture.pass_over(batch)
        a = mixture.a.detach().clone().requires_grad_(True)
        alpha = a.softmax(1)
        weights = {
            name: sum(
                alpha[mixture.names.index(name), column].float() * source.tensor(name)
                for column, source in enumerate(sources.values())
            )
            for name, _ in laboratory.model.named_parameters()
        }
        outputs = functional_call(laboratory.model, weights, (), dict(batch.inputs)).logits
        expected = torch.nn.functional.cross_entropy(outputs, batch.targets)
        expected.backward()
        assert loss == pytest.approx(float(expected), abs=1e-5)
        torch.testing.assert_close(mixture.a.grad, a.grad, atol=1e-6, rtol=1e-4)


# paths


def walked(family: Path, place: Path, numbers: list[int], **more: Any) -> dict[str, list[dict[str, Any]]]:
    spec = {
        **about(numbers), "path": "paths/x", "collapsed": "leave_out", "points": 3, "pairs": 2,
        "sets": ["select", "test"], "rows": 8, "metric": "accuracy", **more,
    }  # fmt: skip
    names = {"points": "paths", "barriers": "barriers", "vectors": "task_vectors"}
    outputs = {name: place / f"{table}.parquet" for name, table in names.items()}
    execute("path", spec, inputs_of(family, numbers), outputs, place / ".work", "source")
    return {table: read_table(table, outputs[name]).to_pylist() for name, table in names.items()}


def test_a_path_ends_in_its_models_and_lists_every_pair(family: Path, tmp_path: Path) -> None:
    found = walked(family, tmp_path, [0, 1, 2])
    lines = {(row["first"], row["second"]) for row in found["paths"]}
    assert lines == {("runs/s0", "runs/s1"), ("runs/s0", "runs/s2"), ("start", "mean")}
    assert len(found["paths"]) == 3 * 3 * 2
    assert len(found["barriers"]) == 3 * 2
    assert len(found["task_vectors"]) == 3
    by_place = {(row["first"], row["second"], row["eval_set"], row["position"]): row for row in found["paths"]}
    # two lines begin at the same model
    for name in ("select", "test"):
        first, second = (by_place["runs/s0", other, name, 0.0] for other in ("runs/s1", "runs/s2"))
        assert (first["loss"], first["score"]) == (second["loss"], second["score"])
    assert {row["n"] for row in found["paths"]} == {8}
    runs = [load_file(family / f"m{number}.safetensors") for number in range(2)]
    apart = sum(float(((runs[0][name] - runs[1][name]).double() ** 2).sum()) for name in runs[0])
    assert found["task_vectors"][0]["distance"] == pytest.approx(apart**0.5, rel=1e-5)
    # independent steps of equal length stand at right angles, nearly
    assert all(abs(row["cosine"]) < 0.2 for row in found["task_vectors"])


def test_an_unknown_set_of_a_path_is_told(family: Path, tmp_path: Path) -> None:
    with pytest.raises(FtbenchError, match=r"found no evaluation set `tset`; there are \['select', 'test'\]"):
        walked(family, tmp_path, [0, 1], sets=["tset"])


# ensembles


def predictions(family: Path, number: int, seed: int) -> Path:
    """Stored predictions of a run on the test rows, with outputs drawn at random."""
    from pyarrow import parquet

    from ftbench.data.predicted import Rows, predicted

    test = parquet.read_table(family / "evaluation.parquet", filters=[("eval_set", "=", "test")])
    outputs = np.random.default_rng(seed).normal(size=(test.num_rows, 2))
    described = json.loads((family / "audit.json").read_text())["sets"]["test"]
    known = Rows("test", "id", test.column("uid").to_pylist(), test.column("label").to_pylist(), None)
    file = family / f"p{number}-{seed}.parquet"
    table = predicted(f"runs/s{number}", known, outputs, "classification", LABELS, described)
    write_table("predictions", table, file, {"labels": LABELS, "prior_labels": None})
    return file


def together(family: Path, place: Path, files: list[Path], mean: str) -> pa.Table:
    spec = {
        "artifact": "ensembles/x", "mean": mean, "collapsed": "leave_out",
        "ingredients": [f"runs/s{number}" for number, _ in enumerate(files)],
    }  # fmt: skip
    inputs = {"audit": family / "audit.json"}
    for position, file in enumerate(files):
        inputs |= {f"record{position}": family / f"r{position}.json", f"predictions{position}": file}
    execute("ensemble", spec, inputs, {"predictions": place / "p.parquet"}, place / ".work", "source")
    return read_table("predictions", place / "p.parquet")


@pytest.mark.parametrize("mean", ["logits", "probabilities"])
def test_an_ensemble_is_the_mean_output_of_its_members(family: Path, tmp_path: Path, mean: str) -> None:
    from scipy.special import softmax

    files = [predictions(family, number, number) for number in range(3)]
    found = together(family, tmp_path, files, mean)
    members = [np.array(read_table("predictions", file).column("logits").to_pylist()) for file in files]
    outputs = np.array(found.column("logits").to_pylist())
    expected = softmax(np.mean(members, 0), 1) if mean == "logits" else np.mean([softmax(one, 1) for one in members], 0)
    np.testing.assert_allclose(softmax(outputs, 1), expected, atol=1e-6)
    chosen = [LABELS[index] for index in expected.argmax(1)]
    assert found.column("pred").to_pylist() == chosen
    gold = [LABELS.index(label) for label in found.column("gold").to_pylist()]
    np.testing.assert_allclose(found.column("loss").to_numpy(), -np.log(expected[np.arange(12), gold]), rtol=1e-5)
    assert metadata(found)["members"] == ["runs/s0", "runs/s1", "runs/s2"]


def test_an_ensemble_of_one_is_that_run(family: Path, tmp_path: Path) -> None:
    file = predictions(family, 0, 5)
    for mean in ("logits", "probabilities"):
        found = together(family, tmp_path / mean, [file], mean)
        assert found.column("pred").to_pylist() == read_table("predictions", file).column("pred").to_pylist()


def test_members_predicted_on_other_rows_are_refused(family: Path, tmp_path: Path) -> None:
    files = [predictions(family, number, number) for number in range(2)]
    table = read_table("predictions", files[1])
    changed = table.set_column(3, "uid", pa.array([f"{uid}x" for uid in table.column("uid").to_pylist()]))
    write_table("predictions", changed.replace_schema_metadata(None), tmp_path / "other.parquet", {"labels": LABELS})
    with pytest.raises(FtbenchError, match=r"runs/s0 and runs/s1 were not predicted on the same rows of `test`"):
        together(family, tmp_path, [files[0], tmp_path / "other.parquet"], "logits")
