"""The pages say what is so: generated ones match the code, links and paths lead somewhere, examples work.

A block of README or a how-to page under `<!-- file: PATH -->` is a file that readers are told to make: it goes
through the checks of shipped files. A block under `<!-- run -->` is run on a small results folder.
"""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from results_folder import Folder, small_study

from ftbench import plugins
from ftbench.check import study_problems
from ftbench.config import reference
from ftbench.config.load import load_catalogue, load_study

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(
    r"(?:<!-- (?P<mark>[^>]*?) -->\n)?^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its language, what the comment before it says, its text."""

    page: Path
    language: str
    mark: str
    text: str


def blocks() -> Iterator[Block]:
    for page in PAGES:
        for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
            yield Block(page, found["language"], found["mark"] or "", found["text"])


FILES = {Path(block.mark.removeprefix("file: ")): block.text for block in blocks() if block.mark.startswith("file: ")}
SNIPPETS = [block for block in blocks() if block.mark == "run"]


def prose(page: Path) -> str:
    """The page without its blocks."""
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_configuration_page_is_made_from_the_types() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == reference.page(), "run: python -m ftbench.config.reference > docs/configuration.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}, and there is no {file}"
        assert not anchor or anchor in anchors(file), (
            f"{page.name} links to {target}; headings: {sorted(anchors(file))}"
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page: Path) -> None:
    tops = {path.name for path in ROOT.iterdir()} - {"results", ".git", ".venv", ".snakemake"}
    for word in re.findall(r"`([^`\s]+)`", prose(page)):
        if word.split("/")[0] not in tops or re.search(r"[*<>{}=]|NAME", word):
            continue
        assert (ROOT / word).exists() or Path(word) in FILES, f"{page.name} names `{word}`, which is not there"


def test_every_page_is_reachable_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)", prose(index))}
    assert set(PAGES) - {index} <= linked


def test_named_commands_exist() -> None:
    from ftbench.cli import app

    known = {item.name or item.callback.__name__ for item in app.registered_commands if item.callback}
    known |= {group.name for group in app.registered_groups}
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    said = [word for page in PAGES for word in re.findall(r"`([^`\n]+)`", prose(page))]
    said += [line.strip() for block in blocks() if block.language == "bash" for line in block.text.splitlines()]
    assert "make demo" in said
    for line in said:
        if found := re.match(r"(?:\.venv/bin/)?ftbench (\w+)", line):
            assert found[1] in known, f"`{line}`: there are {sorted(known)}"
        elif found := re.match(r"make ([\w-]+)", line):
            assert found[1] in targets, f"`{line}`: there are {sorted(targets)}"


@pytest.mark.parametrize("block", blocks(), ids=lambda block: f"{block.page.stem}-{block.language}")
def test_blocks_can_be_read_in_their_language(block: Block) -> None:
    if block.language == "python":
        compile(block.text, str(block.page), "exec")
    elif block.language == "yaml":
        yaml.safe_load(block.text)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Folder(tmp_path_factory.mktemp("documented"), small_study())
    folder.fill()
    folder.finish()
    return folder.root


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.page.stem)
def test_snippets_run_on_the_tables_of_a_study(snippet: Block, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(results)
    exec(compile(snippet.text, str(snippet.page), "exec"), {})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the configuration with all example files, whose plug-ins are found like shipped ones."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    for path, text in FILES.items():
        assert not (ROOT / path).exists(), f"{path} is shipped now; the pages need another example"
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        if path.suffix == ".py":
            package = importlib.import_module(f"ftbench.{path.parent.name}")
            monkeypatch.setattr(package, "__path__", [*package.__path__, str((tmp_path / path).parent)])
    plugins._discovered.cache_clear()
    yield tmp_path
    plugins._discovered.cache_clear()
    for path in FILES:
        sys.modules.pop(f"ftbench.{path.parent.name}.{path.stem}", None)


def example(kind: str, name: str, **settings: Any) -> Any:
    factory = plugins.plugin(kind, name).factory
    return factory(factory.Config(**settings)) if hasattr(factory, "Config") else factory()


def test_example_studies_and_entries_pass_the_checks(project: Path) -> None:
    catalogue = load_catalogue(project)
    studies = [path for path in FILES if path.parent.name == "studies"]
    assert len(studies) >= 3
    for path in studies:
        assert study_problems(load_study(str(path), project), catalogue) == []


def test_the_example_method_adds_noise_of_the_stated_size_that_its_seed_decides(project: Path) -> None:
    import torch

    from ftbench.config.study import Training
    from ftbench.training.method import Context

    def gradient(seed: int, step: int) -> torch.Tensor:
        model = torch.nn.Linear(200, 100)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        context = Context(model, Training(), "classification", seed, total_steps=50, step=step)
        example("methods", "gradient_noise", eta=0.04).gradients_clipped(context)
        assert model.weight.grad is not None
        return model.weight.grad

    # 20,000 draws: the standard error of their deviation is half a percent
    assert gradient(1, 1).std().item() == pytest.approx(0.2, rel=0.03)
    assert gradient(1, 16).std().item() == pytest.approx((0.04 / 16**0.55) ** 0.5, rel=0.03)
    assert torch.equal(gradient(1, 1), gradient(1, 1))
    assert not torch.equal(gradient(1, 1), gradient(2, 1))


def test_the_example_metric_is_the_one_of_scikit_learn(project: Path) -> None:
    from sklearn.metrics import recall_score

    from ftbench.metrics.base import Predictions

    generator = np.random.default_rng(0)
    gold, pred = generator.integers(0, 3, 200), generator.integers(0, 3, 200)
    nothing = np.zeros(0)
    predictions = Predictions(
        "classification", ("a", "b", "c", "never"), gold, pred, np.zeros((200, 4)), nothing, nothing
    )
    metric = example("metrics", "worst_recall")
    assert metric.score(predictions) == pytest.approx(recall_score(gold, pred, average=None).min())
    assert metric.resampled(predictions, generator, 7).shape == (7,)


def test_the_example_recipe_weighs_candidates_by_their_scores(project: Path) -> None:
    from scipy.special import softmax

    from ftbench.soups.base import Candidate, Kitchen

    scores = {"a": 0.9, "b": 0.88, "c": 0.7}
    kitchen = Kitchen(
        [Candidate(name, Path(name), score) for name, score in scores.items()],
        lambda _: pytest.fail("no trial is needed"),
    )
    found = example("soups", "softmax", temperature=0.05).decide(kitchen).weights
    expected = softmax(np.array(list(scores.values())) / 0.05)
    assert list(found.values()) == pytest.approx(expected.tolist())
    assert sum(example("soups", "softmax").decide(kitchen).weights.values()) == pytest.approx(1)
