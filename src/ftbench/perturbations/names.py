"""Given names by other given names.

The list here is small, our own, and of names common in English texts; a file brings those of another language or
culture. Names of one group only take each other's place, so that `her` still fits. A name that is also a word of the
language (Will, Grace, May) is on no list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from pydantic import Field

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.data.lexicon import lexicon_path
from ftbench.perturbations.spans import LETTERS, Edit, SpanPerturbation, chosen

GROUPS = (
    "Alice Amanda Amy Andrea Angela Anna Anne Barbara Betty Carol Catherine Christine Deborah Diana Elizabeth Emily "
    "Emma Helen Jane Jennifer Jessica Julia Karen Kate Laura Linda Lisa Lucy Margaret Maria Martha Mary Michelle Nancy "
    "Nicole Olivia Patricia Rachel Rebecca Sandra Sarah Sophie Susan Teresa Victoria",
    "Adam Alan Albert Andrew Anthony Arthur Benjamin Brian Charles Christopher Daniel David Dennis Donald Edward Eric "
    "George Henry James Jason Jeffrey John Jonathan Joseph Joshua Kenneth Kevin Matthew Michael Nicholas Oliver "
    "Patrick Paul Peter Philip Richard Robert Ronald Samuel Simon Stephen Steven Thomas Timothy Walter William",
)


class Names(SpanPerturbation):
    """Each listed name, written with a capital, is hit."""

    name = "names"
    summary = "given names replaced by others (English by default)"
    strength = "share of the listed names that are replaced"
    paper = "Ribeiro, Wu, Guestrin and Singh (2020), Beyond Accuracy: Behavioral Testing of NLP Models with CheckList"

    class Config(Strict):
        names: str | None = Field(
            None, description="text file with a group of names a line, as a path or below data_root; null: our own"
        )

    @cached_property
    def _groups(self) -> dict[str, tuple[str, ...]]:
        lines: Sequence[str] = GROUPS
        if self.config.names is not None:
            lines = lexicon_path(self.config.names, "names").read_text(encoding="utf-8").splitlines()
        groups = [tuple(sorted({*line.replace(",", " ").split()})) for line in lines]
        found = {name: group for group in groups if len(group) > 1 for name in group}
        if not found:
            raise FtbenchError(f"key `names`: found no line with two names in {self.config.names}")
        return found

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        return (match.span() for match in LETTERS.finditer(text) if match[0] in self._groups)

    def edit(self, text: str, start: int, end: int, draws: Sequence[float]) -> Edit:
        old = text[start:end]
        return Edit(start, end, chosen([name for name in self._groups[old] if name != old], draws[0]))
