"""Opening, checking, merging and writing weights: against published numbers, exact arithmetic and transformers."""

from __future__ import annotations

import os
import pickle
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import case, needs_golden
from opened import Memory, average, merge
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ftbench.config.errors import FtbenchError
from ftbench.merging.geometry import barrier, cosine, distance, gram_of
from ftbench.merging.source import open_ingredient
from ftbench.merging.streaming import STRETCH, Parts, Rule, mean_rule, weighted_sum
from ftbench.merging.writing import shards_of, write_file, write_folder
from ftbench.soups.model_stock import stock
from ftbench.soups.slerp import on_the_arc
from ftbench.soups.task_arithmetic import TaskArithmetic
from ftbench.soups.ties import Ties

# against published numbers


def stored_rules() -> dict[str, Rule]:
    hyper = case("merging").content["hyper"]
    runs = ["m0", "m1", "m2"]
    ties = Ties(Ties.Config(density=hyper["dens"]))
    return {
        "linear_uniform": mean_rule(dict.fromkeys(runs, 1 / 3)),
        "linear_weighted": mean_rule({run: weight / 6 for run, weight in zip(runs, hyper["lin"], strict=True)}),
        "task_arithmetic": TaskArithmetic(TaskArithmetic.Config()).rule(dict(zip(runs, hyper["ta"], strict=True)), 1.0),
        "ties": ties.rule(dict(zip(runs, hyper["ties_w"], strict=True)), 1.0),
        "ties_equal": ties.rule(dict.fromkeys(runs, 1.0), 1.0),
        "model_stock": stock(runs, clamp=False),
        "slerp": on_the_arc("m0", "m1", hyper["slerp_t"]),
    }


@needs_golden
@pytest.mark.parametrize(
    "name", ["linear_uniform", "linear_weighted", "task_arithmetic", "ties", "ties_equal", "model_stock", "slerp"]
)
def test_merged_weights_equal_those_of_mergekit(name: str) -> None:
    stored = case("merging")

    def source(part: str) -> Memory:
        prefix = part + "/"
        return Memory(**{key[len(prefix) :]: value for key, value in stored.inputs.items() if key.startswith(prefix)})

    found = merge(stored_rules()[name], source("base"), m0=source("m0"), m1=source("m1"), m2=source("m2"))
    expected = {key.partition("/")[2]: value for key, value in stored.expected.items() if key.split("/")[0] == name}
    assert found.keys() == expected.keys()
    for key, tensor in found.items():
        torch.testing.assert_close(tensor, expected[key], atol=stored.content["tolerance"]["abs"], rtol=0)


# sums


@pytest.mark.parametrize("size", [0, 1, STRETCH - 1, STRETCH, 2 * STRETCH + 3])
def test_a_sum_over_stretches_is_the_sum_of_the_whole(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    tensors = [torch.randn(size, generator=generator) for _ in range(3)]
    found = weighted_sum(tensors, [0.2, 0.3, 0.5])
    expected = sum(weight * tensor.double() for weight, tensor in zip([0.2, 0.3, 0.5], tensors, strict=True))
    assert isinstance(expected, torch.Tensor)
    torch.testing.assert_close(found, expected.float(), rtol=1.3e-7, atol=1e-9)  # fused or not: one unit at most


def test_sums_in_float32_differ_from_those_in_float64_where_parts_cancel() -> None:
    tensors = [torch.tensor([value]) for value in (1e8, 1.0, -1e8)]
    exact = weighted_sum(tensors, [1.0, 1.0, 1.0], torch.float64)
    rounded = weighted_sum(tensors, [1.0, 1.0, 1.0], torch.float32)
    assert float(exact) == 1.0
    assert float(rounded) == 0.0


def test_a_single_tensor_of_weight_one_keeps_its_bits_negative_zeros_included() -> None:
    tensor = torch.tensor([-0.0, 0.0, 1e-45, -1.5])
    assert weighted_sum([tensor], [1.0]).numpy().tobytes() == tensor.numpy().tobytes()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused_with_tensor_and_run(bad: float) -> None:
    good, broken = Memory(w=torch.ones(4)), Memory(w=torch.tensor([1.0, bad, 1.0, 1.0]))
    for rule in (mean_rule({"a": 0.5, "b": 0.5}), Ties(Ties.Config()).rule({"a": 1.0, "b": 1.0}, 1.0)):
        with pytest.raises(FtbenchError, match="tensor `w` of b"):
            merge(rule, good, a=good, b=broken)


def test_tied_weights_are_averaged_once_and_stay_tied(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    from ftbench.training.models import replace_weights
    from ftbench.training.weights import plain_state, save_weights

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    models = []
    for seed in range(2):
        torch.manual_seed(seed)
        models.append(BertForMaskedLM(BertConfig(vocab_size=11, max_position_embeddings=8, **sizes)))
        save_weights(plain_state(models[-1]), tmp_path / f"{seed}.safetensors")
    mixed = average({tmp_path / f"{seed}.safetensors": 0.5 for seed in range(2)})
    target = models[0]
    expected = (target.get_input_embeddings().weight + models[1].get_input_embeddings().weight).detach() / 2
    replace_weights(target, mixed)
    torch.testing.assert_close(target.get_input_embeddings().weight.detach(), expected)
    assert target.get_output_embeddings().weight.data_ptr() == target.get_input_embeddings().weight.data_ptr()


# files


def test_what_is_written_is_what_was_made_and_the_header_says_how(tmp_path: Path) -> None:
    tensors = {
        "half": torch.randn(3).half(), "whole": torch.arange(5), "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 4), "number": torch.tensor(2.5), "brain": torch.randn(7).bfloat16(),
        "w": torch.randn(2, 3),
    }  # fmt: skip
    save_file(tensors, tmp_path / "in.safetensors")
    with open_ingredient(tmp_path / "in.safetensors") as source:
        write_file(tmp_path / "out.safetensors", source.layout, source.tensor, {"recipe": "none", "ünï": '{"a": 1}'})
    found = load_file(tmp_path / "out.safetensors")
    assert found.keys() == tensors.keys()
    assert all(
        torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in tensors.items()
    )
    with safe_open(tmp_path / "out.safetensors", framework="pt") as opened:
        assert opened.metadata() == {"format": "pt", "recipe": "none", "ünï": '{"a": 1}'}


def test_large_weights_become_shards_that_transformers_loads(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(vocab_size=50, max_position_embeddings=16, **sizes))
    model.save_pretrained(tmp_path / "whole")
    (tmp_path / "cut").mkdir()
    with open_ingredient(tmp_path / "whole") as source:
        layout = source.layout
        files = write_folder(tmp_path / "cut", layout, source.tensor, bound=6000)
    assert len(files) > 2
    assert all(
        len(shard) == 1 or file.stat().st_size < 9000
        for file, shard in zip(files, shards_of(layout, 6000), strict=True)
    )
    model.config.save_pretrained(tmp_path / "cut")
    again = BertForSequenceClassification.from_pretrained(tmp_path / "cut")
    state = model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    with open_ingredient(tmp_path / "cut") as source:  # and shards are ingredients like whole files
        assert source.layout == layout
        assert torch.equal(source.tensor("classifier.weight"), state["classifier.weight"])
    written = write_folder(tmp_path / "cut", {}, lambda _: torch.zeros(0))
    assert [file.name for file in written] == ["model.safetensors"]


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.9])
def test_a_cut_off_file_is_refused_by_name(tmp_path: Path, kept: float) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"w": torch.zeros(100)}, file)
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    expected = r"model\.safetensors: found \d+ bytes that are no whole safetensors file"
    with pytest.raises(FtbenchError, match=expected), open_ingredient(file):
        pass


class _Harm:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.place,))


def _zipped(file: Path, harm: _Harm) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(harm))


def _plain(file: Path, harm: _Harm) -> None:
    file.write_bytes(pickle.dumps(harm, protocol=2))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
@pytest.mark.parametrize("write", [_zipped, _plain])
def test_a_pickle_is_refused_under_any_name_and_never_read(
    tmp_path: Path, name: str, write: Callable[[Path, _Harm], None]
) -> None:
    write(tmp_path / name, _Harm(tmp_path / "harm"))
    for place in (tmp_path / name, tmp_path):
        expected = rf"{name}: found a pickled checkpoint.*Convert it to safetensors"
        with pytest.raises(FtbenchError, match=expected), open_ingredient(place):
            pass
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": "absent.safetensors"}}'])
def test_a_damaged_index_of_shards_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(FtbenchError, match=r"no readable index|no such file"), open_ingredient(tmp_path):
        pass


def test_a_process_killed_while_it_writes_leaves_no_file_under_the_final_name(tmp_path: Path) -> None:
    from ftbench.outputs import Outputs

    outputs = Outputs({"model": tmp_path / "model.safetensors", "record": tmp_path / "recipe.json"}, tmp_path / "work")
    layout = dict.fromkeys("abc", ((1000,), "F32"))

    def make(name: str) -> torch.Tensor:
        if name == "c":
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(1000)

    child = os.fork()
    if not child:
        write_file(outputs["model"], layout, make)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not (tmp_path / "model.safetensors").exists()
    expected = "no whole safetensors file"
    with pytest.raises(FtbenchError, match=expected), open_ingredient(outputs["model"]):
        pass


# geometry


def test_products_of_streamed_models_are_those_of_their_flat_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    models = {
        name: Memory(a=torch.randn(3, 5, generator=generator), b=torch.randn(4, generator=generator), n=torch.arange(3))
        for name in ("x", "y", "z", "start")
    }
    start = models.pop("start")
    flat = {
        name: torch.cat([(model.tensors[key] - start.tensors[key]).reshape(-1) for key in "ab"]).double().numpy()
        for name, model in models.items()
    }
    products = gram_of(models, start)
    assert cosine(products, 0, 1) == pytest.approx(
        flat["x"] @ flat["y"] / np.linalg.norm(flat["x"]) / np.linalg.norm(flat["y"]), rel=1e-6
    )
    assert distance(products, 1, 2) == pytest.approx(np.linalg.norm(flat["y"] - flat["z"]), rel=1e-6)
    assert cosine(torch.zeros(2, 2), 0, 1) is None


def test_a_barrier_is_the_highest_rise_above_the_straight_line() -> None:
    at = [0.0, 0.25, 0.5, 0.75, 1.0]
    assert barrier([1.0, 1.5, 2.0, 2.5, 3.0], at) == 0.0
    assert barrier([1.0, 1.0, 4.0, 2.5, 3.0], at) == pytest.approx(2.0)
    assert barrier([3.0, 1.0, 0.5, 1.0, 1.0], at) == 0.0  # below the line everywhere


def test_a_rule_sees_every_stretch_of_a_tensor_once() -> None:
    tensor = torch.zeros(700, 500)
    parts = Parts("w", {"a": Memory(w=tensor)}, None, torch.float64)
    covered = [row for rows in parts.blocks() for row in range(rows.start, rows.stop)]
    assert covered == list(range(700))
    assert len(list(parts.blocks())) > 1
    vector = Parts("w", {"a": Memory(w=torch.zeros(9))}, None, torch.float64)
    assert [(rows.start, rows.stop) for rows in vector.blocks()] == [(0, 1)]
