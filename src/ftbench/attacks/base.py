"""The contract of an attack: what it changes in a text, and under which constraints.

Attacks are found like all plug-ins. None is shipped yet; other packages may bring theirs.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ftbench.config.strict import Strict


class Attack:
    """Base of all attacks."""

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str] = ""

    class Config(Strict):
        """Settings of the attack; a plug-in replaces it."""

    def __init__(self, config: Any) -> None:
        self.config = config


PLUGIN_BASE = Attack
