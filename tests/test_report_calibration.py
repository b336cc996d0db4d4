"""The report's sections on calibration and on rows from outside: numbers of the tables, gaps never filled in."""

from __future__ import annotations

import numpy as np
import scipy.stats
from results_folder import SEEDS, Folder, small_study

from ftbench import matrix
from ftbench.language_cells import LanguageModel
from ftbench.report.calibrated import calibration_grid, reliability_lines
from ftbench.report.detected import detection_grid, outside_sets
from ftbench.report.grid import NO_VALUE, Grid
from ftbench.report.leaderboard import boards
from ftbench.report.results import TABLES, Results, load
from ftbench.tables.store import write_table

PLAIN = [matrix.Run("reviews", "tiny", "plain", "default", seed).artifact for seed in range(SEEDS)]


def cells(grid: Grid) -> dict[str, dict[str, tuple[str, str]]]:
    """Text and note of every cell, by row and column."""
    return {
        label: {title.name: (entry.text, entry.note) for title, entry in zip(grid.titles, entries, strict=True)}
        for label, entries in grid.rows
    }


def read(folder: Folder) -> Results:
    return load("demo", folder.study, {name: folder.table(name) for name in TABLES})


def half(values: list[float]) -> float:
    return float(scipy.stats.sem(values) * scipy.stats.t.ppf(0.975, len(values) - 1))


def test_the_grid_of_calibration_has_means_and_intervals_over_seeds(tabled: Folder) -> None:
    results = read(tabled)
    (board,) = boards(results)
    found = cells(calibration_grid(results, board))
    assert list(found) == ["plain", "better/a", "better/b", "uniform of plain", "uniform of better/a",
                           "uniform of better/b"]  # fmt: skip
    assert list(found["plain"]) == ["temperature", "test", "farther", "far"]
    own = [row for row in tabled.rows("calibration") if row["artifact_id"] in PLAIN and row["eval_set"] == "far"]
    before, after = (
        {name: [row[name] for row in own if row["scaling"] == scaling]
         for name in ("ece", "nll", "overconfidence", "temperature")}
        for scaling in ("none", "temperature")
    )  # fmt: skip
    text, note = found["plain"]["far"]
    assert text == f"{100 * np.mean(before['ece']):.1f}"
    assert note.split("; ") == [
        f"± {100 * half(before['ece']):.1f}",
        f"scaled {100 * np.mean(after['ece']):.1f} ± {100 * half(after['ece']):.1f}",
        f"too sure by {100 * np.mean(before['overconfidence']):+.1f}",
        f"NLL {np.mean(before['nll']):.3f}, scaled {np.mean(after['nll']):.3f}",
    ]
    heat = after["temperature"]
    assert found["plain"]["temperature"] == (f"{np.mean(heat):.2f}", f"{min(heat):.2f} to {max(heat):.2f}")
    page = tabled.page("index.html")
    assert all(f'href="#{name}"' in page and f'id="{name}"' in page for name in ("temperature-scaling", "reliability"))
    assert 'id="rows-from-outside"' not in page  # nobody asked for it


def test_lines_of_reliability_pool_seeds_and_sets_of_a_role(tabled: Folder) -> None:
    results = read(tabled)
    lines = reliability_lines(results, boards(results)[0])
    assert {(role, scaling) for _, _, role, scaling in lines} >= {
        (role, scaling) for role in ("id", "ood") for scaling in ("none", "temperature")
    }
    rows = [
        row for row in tabled.rows("calibration")
        if row["artifact_id"] in PLAIN and row["role"] == "ood" and row["scaling"] == "none"
    ]  # fmt: skip
    wanted = []
    for number in range(15):
        own = [{name: row[f"bin_{name}"][number] for name in ("n", "confidence", "accuracy")} for row in rows]
        own = [row for row in own if row["n"]]
        total = sum(row["n"] for row in own)
        if total >= 10:
            wanted.append([sum(row["n"] * row[name] for row in own) / total for name in ("confidence", "accuracy")])
    assert len(wanted) > 1
    np.testing.assert_allclose(lines["reviews", "tiny", "ood", "none"]["plain"], wanted)


def test_a_method_that_lacks_a_seed_has_no_mean_and_no_line(folder: Folder) -> None:
    folder.places.path("metrics", artifact=PLAIN[2]).unlink()
    results = folder.finish()
    (board,) = boards(results)
    found = cells(calibration_grid(results, board))
    assert set(found["plain"].values()) == {(NO_VALUE, "")}
    assert found["better/a"]["far"][0] != NO_VALUE
    assert set(reliability_lines(results, board)["reviews", "tiny", "id", "none"]) == {"better/a", "better/b"}


def test_scores_of_detection_stand_by_outside_set_with_intervals_over_seeds(folder: Folder) -> None:
    ratio = {"objective": "causal", "models": ["tiny", "decoder"]}
    folder.study = small_study(detection={"scores": ["energy", "msp"], "inside": "test", "likelihood": ratio})
    generator, values = np.random.default_rng(0), {}
    for cell in matrix.detected(folder.study):
        rows, scores = [], ("msp", "energy")
        if isinstance(cell, LanguageModel):
            scores = ("likelihood_ratio",)
            for name in ("adapted", "likelihoods"):
                file = folder.places.path(name, task=cell.task, model=cell.model)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
        for outside in ("far", "farther"):
            for score in scores:
                value = float(generator.uniform(0.6, 0.9))
                values[cell.artifact, outside, score] = value
                lost = cell.artifact == PLAIN[1] and (outside, score) == ("far", "msp")
                rows.append(
                    {"artifact_id": cell.artifact, "study": "demo", **matrix.identity(cell), "id_set": "test",
                     "ood_set": outside, "score": score, "positive": "ood", "auroc": None if lost else value,
                     "aupr_out": value - 0.1, "aupr_in": value - 0.2, "fpr95": 1 - value, "n_id": 9, "n_ood": 9,
                     "n_select": 9, "resamples": 0}
                )  # fmt: skip
        file = folder.places.path("detection", artifact=cell.artifact)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_table("detection", rows, file)
    results = folder.finish()
    (board,) = boards(results)
    assert outside_sets(results, board) == [("test", "far"), ("test", "farther")]
    found = cells(detection_grid(results, board, "far"))
    assert list(found["plain"]) == ["energy", "msp", "likelihood_ratio"]  # the order of the study
    own = [values[run, "far", "energy"] for run in PLAIN]
    mean = 100 * np.mean(own)
    text, note = found["plain"]["energy"]
    assert text == f"{mean:.1f}"
    assert note == (f"± {100 * half(own):.1f}; FPR95 {100 - mean:.1f}; AUPR out {mean - 10:.1f}; in {mean - 20:.1f}")
    assert found["plain"]["msp"] == (NO_VALUE, "")  # one seed has no AUROC
    soup = "soups/reviews/tiny/uniform-plain-default"
    assert found["uniform of plain"]["msp"][0] == f"{100 * values[soup, 'far', 'msp']:.1f}"
    for label, model in (("language model", "tiny"), ("language model decoder", "decoder")):  # the latter has no board
        own = 100 * values[f"likelihood/reviews/{model}", "far", "likelihood_ratio"]
        assert {name: text for name, (text, _) in found[label].items() if text} == {"likelihood_ratio": f"{own:.1f}"}
    assert found["plain"]["likelihood_ratio"] == ("", "")
    page = folder.page("index.html")
    assert all(f'id="{name}"' in page for name in ("rows-from-outside", "telling-rows-from-outside"))
    assert "<caption>reviews, tiny: farther outside test</caption>" in page
