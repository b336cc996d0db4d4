"""What a method does and what it goes with, and how a model's parameters are grouped: `ftbench describe`.

Everything is asked of the plug-in and of the module tree at the moment, so it cannot say something else than what
runs. Nothing is downloaded, and models are built without weights.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from ftbench.architectures import configuration, without_weights
from ftbench.config.reference import default_in_words, type_in_words
from ftbench.config.study import Training
from ftbench.plugins import plugin, plugins

app = typer.Typer(no_args_is_help=True, help="Describe a method or a model.")


@app.command("method")
def method_(name: Annotated[str, typer.Argument(help="name of a method, as `ftbench list methods` gives it")]) -> None:
    """What a method does, its settings, its cost, what it composes with, and where it comes from."""
    typer.echo("\n".join(method_lines(name)))


@app.command("model")
def model_(
    name: Annotated[str, typer.Argument(help="name of a model entry, or a folder with a config.json")],
) -> None:
    """The groups of a model's parameters by depth, with names and counts."""
    typer.echo("\n".join(model_lines(name)))


def method_lines(name: str) -> list[str]:
    """The description of a method, a line each; an unknown name raises an `FtbenchError`."""
    factory = plugin("methods", name).factory
    cost = factory.cost
    partners, refused = companions(name)
    lines = [f"{name}: {factory.summary}", "", f"  {' '.join((inspect.getdoc(factory) or '').split())}"]
    lines += ["", f"formula  {factory.formula}", "", "settings"]
    width = max(map(len, factory.Config.model_fields), default=0)
    for key, field in factory.Config.model_fields.items():
        kind, default = type_in_words(field), default_in_words(field)
        lines.append(f"  {key.ljust(width)}  {default.strip('`')}  ({kind.replace('`', '')})")
        if field.description:
            lines.append(f"  {' ' * width}  {field.description}")
    if not factory.Config.model_fields:
        lines.append("  none")
    lines += ["", "search"]
    grid = [f"  {key}: {', '.join(map(str, values))}" for key, values in factory.search.items()]
    lines += grid or ["  none is given"]
    lines += ["", "cost of a step against vanilla"]
    passes = f"  forward passes {cost.forward:.3g}, backward passes {cost.backward:.3g}"
    lines.append(passes + (f", and {cost.frozen_backward:.3g} through frozen weights" if cost.frozen_backward else ""))
    rule = "a backward pass counted as two forward passes"
    rule += ", one through frozen weights as one" if cost.frozen_backward else ""
    lines.append(f"  about {cost.time:.2f} times the time, {rule}")
    if cost.tokens:
        lines.append(f"  every row is {cost.tokens} tokens longer, which comes on top")
    lines.append(f"  memory beyond vanilla: {cost.memory}")
    if reasons := list(alone(factory)):
        lines += ["", "refuses, at default settings of its own and of the training", *reasons]
    lines += ["", "composes with (at default settings)", f"  {', '.join(partners) or 'nothing'}"]
    if refused:
        lines += ["", "does not compose with"]
        lines += [f"  {other}: {'; '.join(reasons)}" for other, reasons in refused.items()]
    lines += ["", f"paper           {factory.paper}", f"reference code  {factory.reference_code or 'none'}"]
    return [*lines, "deviations", *[f"  - {text}" for text in factory.deviations or ("none",)]]


def alone(factory: Any) -> Iterator[str]:
    """What the method refuses without any companion, by kind of task, at the default training settings."""
    config = _defaults(factory)
    if config is None:
        return
    for kind in ("classification", "regression"):
        for reason in factory.check(config, Training(), kind, []):
            yield f"  {kind}: {reason}"


def companions(name: str) -> tuple[list[str], dict[str, list[str]]]:
    """Methods that go with this one at default settings, and those that do not, with both sides' reasons."""
    mine = plugin("methods", name).factory
    fitting: list[str] = []
    refused: dict[str, list[str]] = {}
    for other, found in plugins("methods").items():
        if other in (name, "vanilla"):  # plain fine-tuning beside a method is that method
            continue
        reasons = [
            f"both own the {owned}"
            for owned in ("gradients", "criterion")
            if getattr(mine, f"owns_{owned}") and getattr(found.factory, f"owns_{owned}")
        ]
        for one, two in ((mine, found.factory), (found.factory, mine)):
            reasons += _objections(one, two)
        if reasons:
            refused[other] = list(dict.fromkeys(reasons))
        else:
            fitting.append(other)
    return fitting, refused


def _objections(one: Any, two: Any) -> list[str]:
    """What one method has against the other, and not already against being alone."""
    config = _defaults(one)
    if config is None:
        return [f"the settings of {one.name} have no defaults to ask with"]
    before = one.check(config, Training(), "classification", [])
    return [reason for reason in one.check(config, Training(), "classification", [two]) if reason not in before]


def _defaults(factory: Any) -> Any:
    from pydantic import ValidationError

    try:
        return factory.Config()
    except ValidationError:
        return None


def model_lines(name: str) -> list[str]:
    """The description of a model by entry name or folder, a line each; raises an `FtbenchError` without a config."""
    from ftbench.training.layers import layer_groups, linear_weights

    config, notes = configuration(name)
    model = without_weights(config)
    groups = layer_groups(model)
    sizes = {key: value.numel() for key, value in model.named_parameters()}
    total = sum(sizes.values())
    rows = [("embeddings", groups.embeddings)]
    rows += [(f"block {number}", members) for number, members in enumerate(groups.blocks)]
    rows += [("top", groups.top), ("head", groups.head)]
    lines = [f"{name}: {type(model).__name__}, {len(groups.blocks)} blocks, {total:,} parameters, 2 labels", ""]
    lines.append(f"{'group':<12} {'parameters':>13} {'share':>6} {'tensors':>7}  where")
    for title, members in rows:
        count = sum(sizes[key] for key in members)
        where = ", ".join(_places(members)) or "-"
        lines.append(f"{title:<12} {count:>13,} {100 * count / total:>5.1f}% {len(members):>7}  {where}")
    linear = list(linear_weights(model))
    count = sum(weight.parameter.numel() for weight in linear)
    lines += [
        "",
        f"linear layers: {len(linear)}, with {count:,} weights, {100 * count / total:.1f} % of all parameters",
    ]
    return lines + notes


def _places(names: tuple[str, ...]) -> list[str]:
    """The modules that hold the parameters; where they are many, the one that holds all of them."""
    places = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    if len(places) < 4:
        return places
    levels = zip(*(place.split(".") for place in places), strict=False)
    return [".".join(level[0] for level in itertools.takewhile(lambda level: len(set(level)) == 1, levels))]
