"""Damage, fronts and their tables, against counting by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from results_folder import Folder, predictions_of, small_study

from ftbench import matrix
from ftbench.statistics.forgetting import damage
from ftbench.statistics.pareto import hypervolume, on_front, value_at
from ftbench.tables.store import write_table


@pytest.mark.parametrize("seed", range(20))
def test_the_change_is_transfer_minus_damage_and_every_share_is_what_counting_gives(seed: int) -> None:
    draw = np.random.default_rng(seed)
    rows = int(draw.integers(1, 60))
    before, after = draw.random(rows) < draw.random(), draw.random(rows) < draw.random()
    found = damage(before, after)
    lost = sum(b and not a for b, a in zip(before, after, strict=True))
    gained = sum(a and not b for b, a in zip(before, after, strict=True))
    assert found.collateral_damage == lost / rows
    assert found.positive_transfer == gained / rows
    assert found.forget_rate == (lost / before.sum() if before.any() else None)
    assert found.after - found.before == pytest.approx(found.positive_transfer - found.collateral_damage, abs=1e-12)


def test_rows_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="the same rows"):
        damage([True], [True, False])


def test_the_front_holds_what_no_other_point_beats() -> None:
    points = [(0.9, 0.2), (0.8, 0.5), (0.8, 0.4), (0.5, 0.9), (0.4, 0.9), (0.9, 0.2)]
    assert on_front(points) == [True, True, False, True, False, True]


def test_values_between_points_of_the_front_lie_on_straight_lines() -> None:
    points = [(0.9, 0.2), (0.5, 0.8), (0.6, 0.1)]
    assert value_at(points, 0.7) == pytest.approx(0.5)
    assert value_at(points, 0.9) == pytest.approx(0.2)
    assert value_at(points, 0.95) is None
    assert value_at(points, 0.4) is None
    assert value_at([(0.5, 0.3)], 0.5) == 0.3


@pytest.mark.parametrize("seed", range(5))
def test_the_hypervolume_is_the_share_of_random_points_that_are_dominated(seed: int) -> None:
    draw = np.random.default_rng(seed)
    points = [tuple(pair) for pair in draw.random((6, 2))]
    reference = (0.2, 0.1)
    throws = draw.random((200_000, 2))
    inside = (throws > reference).all(1)
    dominated = np.any([(throws <= point).all(1) for point in points], axis=0) & inside
    assert hypervolume(points, reference) == pytest.approx(dominated.mean(), abs=0.006)
    assert hypervolume([(0.1, 0.9)], reference) == 0.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The finished hand-made folder with prior samples beside it."""
    folder = Folder(tmp_path_factory.mktemp("complete"), small_study())
    folder.fill()
    rows = [
        {"model": "tiny", "prior_set": "old", "uid": f"old{number}", "base_id": "b", "role": "prior_eval",
         "text_hash": str(number), "label": "abc"[number % 3], "aux": '{"domain": "x"}' if number < 50 else None,
         "prior_correct": True, "prior_loss": 0.0, "n_tokens": 3, "n_chars": 3, "loss_bin": number % 10}
        for number in range(200)
    ]  # fmt: skip
    file = folder.places.path("pretrain_samples", prior="old", model="tiny")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_table("pretrain_samples", rows, file)
    folder.finish()
    return folder


def test_every_run_and_soup_has_its_damage_in_every_bin(folder: Folder) -> None:
    rows = folder.rows("forgetting")
    run = matrix.Run("reviews", "tiny", "better", "a", 2)
    base = predictions_of(matrix.Base("reviews", "tiny").artifact, "base", "base", 0)
    mine = predictions_of(run.artifact, "run", "better", 2)
    right = [
        {row["uid"]: row["gold"] == row["pred"] for row in found if row["eval_set"] == "old"} for found in (base, mine)
    ]
    for scheme, name, wanted in (
        ("all", "all", lambda _: True),
        ("loss", "loss 07", lambda number: number % 10 == 7),
        ("domain", "x", lambda number: number < 50),
    ):
        uids = [f"old{number}" for number in range(200) if wanted(number)]
        found = next(r for r in rows if (r["artifact_id"], r["scheme"], r["bin"]) == (run.artifact, scheme, name))
        before, after = ([part[uid] for uid in uids] for part in right)
        lost = sum(b and not a for b, a in zip(before, after, strict=True))
        assert found["n"] == len(uids)
        assert found["before"] == pytest.approx(np.mean(before))
        assert found["after"] == pytest.approx(np.mean(after))
        assert found["collateral_damage"] == pytest.approx(lost / len(uids))
        assert found["forget_rate"] == pytest.approx(lost / sum(before))
    kinds = {row["artifact_kind"] for row in rows}
    assert kinds == {"run", "soup"}
    for row in rows:
        change = row["positive_transfer"] - row["collateral_damage"]
        assert row["after"] - row["before"] == pytest.approx(change, abs=1e-12)


def test_the_pareto_table_holds_means_over_all_seeds_and_the_front(folder: Folder) -> None:
    rows = {(row["method"], row["variant"]): row for row in folder.rows("pareto")}
    assert set(rows) == {("plain", "default"), ("better", "a"), ("better", "b")}
    metrics, runs = folder.rows("metrics"), folder.rows("runs")
    for (method, variant), row in rows.items():
        for key, name in (("new_value", "test"), ("prior_value", "old")):
            scores = [
                item["value"]
                for item in metrics
                if (item["method"], item["variant"], item["eval_set"], item["metric"], item["artifact_kind"])
                == (method, variant, name, "accuracy", "run")
            ]
            assert row[key] == pytest.approx(np.mean(scores))
        charged = [run["charged_rows"] for run in runs if (run["method"], run["variant"]) == (method, variant)]
        assert row["charged_rows"] == pytest.approx(np.mean(charged))
    best = on_front([(row["new_value"], row["prior_value"]) for row in rows.values()])
    assert [row["on_front"] for row in rows.values()] == best
    assert not rows["plain", "default"]["on_front"]
    page = folder.page("index.html")
    assert "New task against prior task" in page
    assert "forget rate" in page


def test_a_failed_seed_leaves_its_means_empty(tmp_path: Path) -> None:
    folder = Folder(tmp_path, small_study())
    folder.fill()
    run = matrix.Run("reviews", "tiny", "plain", "default", 3)
    folder.places.path("predictions", artifact=run.artifact).unlink()
    folder.places.path("metrics", artifact=run.artifact).unlink()
    folder.finish()
    rows = {(row["method"], row["variant"]): row for row in folder.rows("pareto")}
    plain = rows["plain", "default"]
    assert (plain["new_value"], plain["prior_value"], plain["collateral_damage"], plain["on_front"]) == (None,) * 4
    assert rows["better", "a"]["matched_at"] is None
    assert rows["better", "a"]["new_value"] is not None


def test_a_study_without_a_prior_task_has_empty_tables_and_a_figure_that_says_so(tmp_path: Path) -> None:
    folder = Folder(tmp_path, small_study(prior=None))
    folder.fill()
    folder.finish()
    assert folder.rows("forgetting") == folder.rows("pareto") == folder.rows("rehearsal_trace") == []
    assert "New task against prior task" not in folder.page("index.html")


def test_rows_that_were_only_passed_forward_are_charged_a_third() -> None:
    from ftbench.stages.finetune import charged_rows

    assert charged_rows(90, {}) == 90
    assert charged_rows(90, {"rehearsed_rows": 10, "forward_rows_extra": 60}) == 120
