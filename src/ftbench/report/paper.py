"""Tables for a paper in LaTeX (booktabs) and Markdown: mean ± interval, marks, and footnotes on missing cells."""

from __future__ import annotations

from string import ascii_lowercase

from ftbench.report.latex import escape
from ftbench.report.pivot import Pivot, PivotCell, caption
from ftbench.report.results import Results

_MARKS = {"better": "+", "worse": "-"}


def paper_latex(results: Results, table: Pivot, label: str = "results") -> str:
    """One `table` environment; needs the package booktabs."""
    width = len(table.row_names)
    lines = [
        "% \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(caption(results, table)).replace('±', chr(36) + chr(92) + 'pm' + chr(36))}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{'l' * width}{'r' * len(table.columns)}}}",
        r"\toprule",
    ]
    for number in range(len(table.column_names)):
        heads = [escape(column[number]) for column in table.columns]
        names = [escape(name) for name in table.row_names] if number == 0 else [""] * width
        lines.append(" & ".join([*names, *heads]) + r" \\")
    lines.append(r"\midrule")
    for row, cells in zip(table.rows, table.cells, strict=True):
        lines.append(" & ".join([*map(escape, row), *map(_latex_cell, cells)]) + r" \\")
    lines.append(r"\bottomrule")
    for index, note in enumerate(table.footnotes):
        columns = width + len(table.columns)
        text = rf"\textsuperscript{{{_letter(index)}}} {escape(note)}"
        lines.append(rf"\multicolumn{{{columns}}}{{l}}{{\footnotesize {text}}} \\")
    return "\n".join([*lines, r"\end{tabular}", r"\end{table}", ""])


def _latex_cell(cell: PivotCell) -> str:
    text = escape(cell.text)
    if cell.verdict == "better":
        text = rf"\textbf{{{text}}}"
    if cell.reach:
        text += rf" {{\scriptsize $\pm$ {escape(cell.reach)}}}"
    if cell.verdict in _MARKS:
        text += f"$^{{{_MARKS[cell.verdict]}}}$"
    return text + (rf"\textsuperscript{{{_letter(cell.footnote)}}}" if cell.footnote is not None else "")


def paper_markdown(results: Results, table: Pivot) -> str:
    """A table with its caption and footnotes."""
    heads = [" / ".join(column) for column in table.columns]
    titles = [*table.row_names, *(heads if table.column_names else ["score"])]
    lines = [f"| {' | '.join(map(_plain, titles))} |", f"|{' --- |' * len(table.row_names)}{' ---: |' * len(heads)}"]
    for row, cells in zip(table.rows, table.cells, strict=True):
        lines.append(f"| {' | '.join([*map(_plain, row), *map(_markdown_cell, cells)])} |")
    lines += ["", caption(results, table)]
    lines += [f"\n<sup>{_letter(index)}</sup> {_plain(note)}" for index, note in enumerate(table.footnotes)]
    return "\n".join(lines) + "\n"


def _markdown_cell(cell: PivotCell) -> str:
    text = f"**{cell.text}**" if cell.verdict == "better" else cell.text
    text += f" ± {cell.reach}" if cell.reach else ""
    text += f" {_MARKS[cell.verdict]}" if cell.verdict in _MARKS else ""
    return text + (f"<sup>{_letter(cell.footnote)}</sup>" if cell.footnote is not None else "")


def _plain(text: str) -> str:
    """Names may hold what Markdown and HTML read as markup."""
    for character, instead in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("*", "\\*"), ("_", "\\_")):
        text = text.replace(character, instead)
    return " ".join(text.split())


def _letter(index: int | None) -> str:
    """a to z, then aa, ab."""
    assert index is not None
    first, last = divmod(index, 26)
    return (ascii_lowercase[first - 1] if first else "") + ascii_lowercase[last]
