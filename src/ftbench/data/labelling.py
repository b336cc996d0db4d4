"""From raw label values to label names, checked against the names that the data themselves give.

Labels travel as names from here on. A swapped order of integers is the classical way to a wrong benchmark,
so integers are only believed where the source has no names to check them against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftbench.config.errors import FtbenchError


def value_names(labels: Mapping[str, str | int], source_names: Sequence[str] | None, dataset: str) -> dict[str, str]:
    """Raw value (as text) to our label name.

    `labels` is the entry's mapping (our name to source name or raw value). Where the source has ClassLabel
    names, its raw values are indices into them.
    """
    found: dict[str, str] = {}
    for ours, theirs in labels.items():
        if source_names is None:
            found[str(theirs)] = ours
        elif isinstance(theirs, int):
            if not 0 <= theirs < len(source_names):
                raise FtbenchError(
                    f"data set {dataset}, key `labels.{ours}`: found value {theirs}; "
                    f"the data have only {dict(enumerate(source_names))}"
                )
            if source_names[theirs] != ours:
                raise FtbenchError(
                    f"data set {dataset}, key `labels.{ours}`: found value {theirs}, which the data name "
                    f"`{source_names[theirs]}`. Give the name instead of the number: "
                    f"`{ours}: {source_names[theirs]}` if they mean the same."
                )
            found[str(theirs)] = ours
        elif theirs in source_names:
            found[str(list(source_names).index(theirs))] = ours
        else:
            raise FtbenchError(
                f"data set {dataset}, key `labels.{ours}`: found `{theirs}`, a label that the data do not have; "
                f"they have {list(source_names)}"
            )
    return found


def raw_values(values: Sequence[str | int], source_names: Sequence[str] | None) -> set[str]:
    """Values of the source as the text of its raw values; names of a source with ClassLabel names become indices."""
    names = list(source_names or ())
    return {str(names.index(value)) if isinstance(value, str) and value in names else str(value) for value in values}


def named(raw: Sequence[str | None], names: Mapping[str, str], unlabelled: set[str], where: str) -> list[str | None]:
    """Label names of raw values; None for `unlabelled` and empty ones, an `FtbenchError` for any other value."""
    unknown = sorted({value for value in raw if value is not None and value not in names and value not in unlabelled})
    if unknown:
        raise FtbenchError(
            f"{where}: found label values {unknown[:8]}; the entry names {dict(names)} "
            f"and leaves out {sorted(unlabelled)}. Add them under `labels` or `unlabelled`."
        )
    return [None if value is None or value in unlabelled else names[value] for value in raw]
