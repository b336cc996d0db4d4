"""What `collect` gathers about attacks: every attacked example, scores of every artifact, and what transfers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench import matrix

if TYPE_CHECKING:
    import pyarrow as pa

    from ftbench.config.study import Study
    from ftbench.tables.scan import Scan

_COUNTED = ("status", "n_changed", "n_words", "queries")


def copy_attacks(study: Study, name: str, scan: Scan, target: Path) -> list[dict[str, Any]]:
    """Write the table `attacks`, an artifact at a time, and return the rows of `attack_scores`.

    An attack without all its shards has no scores; what is absent is a row in `missing`.
    """
    from ftbench.tables.streamed import TableWriter

    scores: list[dict[str, Any]] = []
    with TableWriter("attacks", target) as writer:
        for one in matrix.attacks(study):
            found = _shards(study, one, scan)
            if found is None:
                continue
            table, seconds = found
            writer.write(table)
            scores += [{"study": name, **row} for row in _scores(one, table, seconds)]
    return scores


def _shards(study: Study, one: matrix.Attacked, scan: Scan) -> tuple[pa.Table, float] | None:
    """All rows of one attack on one artifact and their seconds; null, and rows in `missing`, if a shard is absent."""
    import pyarrow as pa

    parts: list[pa.Table | None] = []
    seconds = 0.0
    for shard in range(study.attacks[one.attack].shards):
        place = {"attack": one.attack, "artifact": one.target.artifact, "attack_seed": one.seed, "shard": shard}
        cell = f"{one.cell}/{shard}"
        identity = {"artifact": one.target.artifact, "attack": one.attack, "seed": one.seed, "shard": shard}
        record = scan.record(scan.places.path("attack", **place), cell, "attack", identity)
        if isinstance(record, str):
            parts.append(None)
            continue
        seconds += float(record.get("seconds") or 0.0)
        parts.append(scan.table("attacks", scan.places.path("attacks", **place), cell, "attack"))
    whole = [part.replace_schema_metadata(None) for part in parts if part is not None]
    return (pa.concat_tables(whole), seconds) if len(whole) == len(parts) else None


def _scores(one: matrix.Attacked, table: pa.Table, seconds: float) -> Iterator[dict[str, Any]]:
    from pyarrow import compute

    from ftbench.statistics.attacks import attack_scores

    target = one.target
    for eval_set in table.column("eval_set").unique().to_pylist():
        rows = table.filter(compute.equal(table.column("eval_set"), eval_set))
        columns = {key: rows.column(key).to_pylist() for key in _COUNTED}
        before = (rows.column(key).to_pylist() for key in ("gold", "pred_before"))
        right = [gold == found for gold, found in zip(*before, strict=True)]
        yield {
            "artifact_id": target.artifact,
            "attack": one.attack,
            "attack_seed": one.seed,
            "eval_set": eval_set,
            "artifact_kind": "run" if isinstance(target, matrix.Run) else "soup",
            **{key: getattr(target, key, None) for key in ("task", "model", "method", "variant", "seed")},
            **asdict(attack_scores(right=right, **columns)),
            "seconds": seconds,
        }


def transfer_rows(study: Study, name: str, scan: Scan, attacks: Path) -> Iterator[dict[str, Any]]:
    """Rows of the table `transfer`, from the table `attacks` and the predictions of every target."""
    targets = matrix.transfer_targets(study)
    if not targets:
        return
    sources = {
        (one.attack, one.target.artifact): one for task in study.tasks for one in matrix.transferring(study, task)
    }
    fooled = _fooling_texts(attacks, sources)
    for target in targets:
        answers = _answers(scan, target.artifact)
        right = _right(scan, target.artifact)
        if answers is None or right is None:
            continue
        for (attack, source), one in sources.items():
            if source == target.artifact or one.target.task != target.task:
                continue
            for eval_set, uids in fooled.get((attack, source), {}).items():
                wrong = [not answers[f"adv:{attack}:{source}", uid] for uid in uids if (eval_set, uid) in right]
                yield _transfer_row(name, one, target, eval_set, len(uids), wrong)


def _transfer_row(
    name: str,
    one: matrix.Attacked,
    target: matrix.Run | matrix.SoupCell,
    eval_set: str,
    texts: int,
    wrong: list[bool],
) -> dict[str, Any]:
    from ftbench.statistics.failures import failure_rate

    rate = failure_rate(sum(wrong), len(wrong)) or (None, None, None)
    return {
        "attack": one.attack, "eval_set": eval_set, "source": one.target.artifact, "target": target.artifact,
        "study": name, "task": target.task, "source_model": one.target.model, "target_model": target.model,
        "n_texts": texts, "n": len(wrong), "fooled": sum(wrong),
        "transfer_rate": rate[0], "low": rate[1], "high": rate[2],
    }  # fmt: skip


def _fooling_texts(
    attacks: Path, sources: dict[tuple[str, str], matrix.Attacked]
) -> dict[tuple[str, str], dict[str, list[str]]]:
    """Attack and source to set to the ids of the texts that fooled the source; every attacked set is in it."""
    from ftbench.tables.streamed import parts

    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for part in parts(
        "attacks",
        attacks,
        columns=["artifact_id", "attack", "attack_seed", "eval_set", "uid", "status", "gold", "pred_before"],
    ):
        for row in part.to_pylist():
            key = (row["attack"], row["artifact_id"])
            if key in sources and sources[key].seed == row["attack_seed"]:
                uids = found.setdefault(key, {}).setdefault(row["eval_set"], [])
                if row["status"] == "success" and row["pred_before"] == row["gold"]:
                    uids.append(row["uid"])
    return found


def _answers(scan: Scan, artifact: str) -> dict[tuple[str, str], bool] | None:
    """Whether a target is right about each text that fooled another artifact."""
    table = scan.table("predictions", scan.places.path("transferred", artifact=artifact), artifact, "transfer")
    if table is None:
        return None
    columns = (table.column(key).to_pylist() for key in ("eval_set", "uid", "gold", "pred"))
    return {(name, uid): gold == pred for name, uid, gold, pred in zip(*columns, strict=True)}


def _right(scan: Scan, artifact: str) -> set[tuple[str, str]] | None:
    """The examples that a target classifies correctly as they are; null where its predictions cannot be read."""
    from ftbench.config.errors import FtbenchError
    from ftbench.tables.store import read_table

    file = scan.places.path("predictions", artifact=artifact)
    try:
        table = read_table("predictions", file)
    except FtbenchError:  # told of where scores are collected
        return None
    columns = (table.column(key).to_pylist() for key in ("eval_set", "uid", "gold", "pred"))
    return {(name, uid) for name, uid, gold, pred in zip(*columns, strict=True) if gold == pred}
