"""Panels of a figure in one style: colours and markers that stay apart for colour-blind readers and in print.

Every figure of the report is drawn on a `Canvas` and saved as PNG and SVG. Equal content gives equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Okabe and Ito's colours
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C00")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
_PANELS_A_ROW = 3
# more names than this make a legend that nobody reads
_MOST_NAMES = 24


class Canvas:
    """A figure with room for some panels.

    Names get their colour and marker by their place in `order`, so that a method looks alike in every figure of a
    report; names that are not in it follow in the order of first use. A figure that has nothing to show is low.
    """

    def __init__(self, panels: int, order: Sequence[str] = (), panels_a_row: int = _PANELS_A_ROW) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.columns = max(1, min(panels_a_row, panels))
        self.lines = max(1, -(-panels // self.columns))
        size = (0.8 + 4.2 * self.columns, 0.6 + 3.8 * self.lines)
        # many panels would make an image larger than the drawing library can hold
        self.figure = Figure(figsize=size, dpi=110 if self.lines <= 20 else 60, layout="constrained")
        FigureCanvasAgg(self.figure)
        self.order = {name: number for number, name in enumerate(order)}
        self.styles: dict[str, int] = {}
        self.drawn = self.silent = 0

    def panel(self, title: str) -> Any:
        """The next panel."""
        self.drawn += 1
        axes = self.figure.add_subplot(self.lines, self.columns, self.drawn)
        axes.set_title(title, fontsize=10, parse_math=False)
        axes.grid(color="0.92")
        axes.tick_params(labelsize=8)
        return axes

    def say(self, axes: Any, text: str) -> None:
        """A panel without data says why."""
        self.silent += 1
        axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, fontsize=8, wrap=True)
        axes.set_axis_off()

    def point(self, axes: Any, across: float, up: float, name: str, sign: str | None = None) -> None:
        """One point in the style of its name; `sign` is a larger marker instead of the name's."""
        axes.plot(
            across, up, linestyle="", marker=sign or self.marker(name), markersize=10 if sign else 5,
            color=self.colour(name), alpha=0.8,
        )  # fmt: skip

    def style(self, name: str) -> int:
        """The number that colour and marker of a name follow from; from now on it stands in the legend."""
        if name not in self.styles:
            self.styles[name] = self.order.setdefault(name, len(self.order))
        return self.styles[name]

    def colour(self, name: str) -> str:
        return _COLOURS[self.style(name) % len(_COLOURS)]

    def marker(self, name: str) -> str:
        number = self.style(name)
        return _MARKERS[(number // len(_COLOURS) + number) % len(_MARKERS)]

    def save(self, files: Sequence[Path]) -> bool:
        """Write the figure with its legend; the suffix of a file says whether it is PNG or SVG. False where no panel
        has anything to show."""
        import matplotlib
        from matplotlib.lines import Line2D

        handles = [
            Line2D(
                [], [], linestyle="", marker=self.marker(name), color=self.colour(name), label=name.replace("$", r"\$")
            )
            for name in sorted(self.styles, key=self.style)[:_MOST_NAMES]
        ]
        if (more := len(self.styles) - _MOST_NAMES) > 0:
            handles.append(Line2D([], [], linestyle="", label=f"and {more} more"))
        if self.silent == self.drawn:
            self.figure.set_size_inches(0.8 + 4.2 * self.columns, 0.5 + 0.5 * self.lines)
        if handles:
            self.figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8)
        with matplotlib.rc_context({"svg.hashsalt": "ftbench", "svg.fonttype": "none"}):
            for file in files:
                kind = file.suffix.removeprefix(".")
                # without the version of the library or the time in it, equal tables give equal bytes
                quiet = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
                self.figure.savefig(file, format=kind, metadata=quiet)
                self.figure.set_layout_engine("none")  # the panels stay where the first file has them
        return self.silent < self.drawn
