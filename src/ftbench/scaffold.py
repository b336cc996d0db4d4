"""New plug-in files from a documented template: `ftbench new method NAME`.

The file that is written trains and passes the checks of `tests/test_conformance.py` as it is; names that are taken
are refused, and nothing is overwritten.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from ftbench.config.errors import FtbenchError, problem

app = typer.Typer(no_args_is_help=True, help="Write a new plug-in file.")
METHODS = Path("src/ftbench/methods")

METHOD = '''"""{name}: one sentence on what it does, and what calls for it.

Paper: authors (year), title. Reference code: owner/name @ commit, where there is some.
Formula: CE + strength * mean_i |z_i|^2, with the logits z.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.config.study import Training
from ftbench.methods.base import Cost, Method

if TYPE_CHECKING:  # heavy libraries: import them inside functions, or only for types
    import torch

    from ftbench.methods.base import Context
    from ftbench.training.batches import Batch


class {class_name}(Method):
    """What makes the method differ from plain fine-tuning. As it stands, it keeps logits small."""

    name = "{name}"
    summary = "a small penalty on the size of the logits"  # one line, for lists
    paper = "none yet"
    reference_code = ""  # owner/name @ commit
    formula = "CE + strength * mean_i |z_i|^2"
    deviations = ()  # each difference from the paper or from its code, in a sentence
    # passes of a step relative to vanilla at the default settings; `benchmarks/method_cost.py` measures them
    cost = Cost(forward=1.0, backward=1.0, memory="none")
    search = {{"settings.strength": (0.001, 0.01, 0.1)}}  # `settings.KEY` or `training.KEY` to the values to try

    class Config(Strict):
        """Settings under `methods.{name}.settings` of a study; unknown keys are refused."""

        strength: float = Field(0.01, ge=0, description="weight of the penalty; 0: plain fine-tuning")

    @classmethod
    def check(cls, config: Config, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        """Reasons not to run: settings, kind of task (classification or regression) or companions."""
        return []

    def loss(self, loss: torch.Tensor, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        """P4: the loss of one micro-batch from fp32 logits (rows, labels); a mean over rows, so that accumulation
        changes nothing."""
        strength: float = self.config.strength
        return loss + strength * logits.square().sum(-1).mean()

    # The other hooks, in the order in which a step reaches them; override those you need and delete these lines.
    # `ftbench.training.method.Method` documents each, docs/how-to/add-a-method.md has the rules.
    #   examples, prepare_model, parameter_groups, phases, prologue   before the first step
    #   begin_passes, criterion, loss, gradients, end_passes          forward and backward
    #   gradients_ready (before clipping), gradients_clipped          masks and statistics on `.grad`
    #   wrap_optimizer, after_step                                    the update
    #   evaluating, export                                            other weights to evaluate or to save
    #   state_dict, load_state_dict                                   what a resumed run needs
    # Noise comes from `context.generator(self.name)`; set `draws_noise = True` where each micro-batch draws some.
'''


@app.command("method")
def method_(
    name: Annotated[str, typer.Argument(help="its name in studies and tables: small letters, digits, _")],
    folder: Annotated[Path | None, typer.Option(help="where to write it; default: the checkout's methods")] = None,
) -> None:
    """Write a method file that trains as it is, for you to change."""
    file = new_method(name, folder)
    typer.echo(f"written: {file}")
    if folder is None:
        typer.echo(
            f"check it: pytest tests/test_conformance.py -k {name}   use it: `{name}:` under `methods` of a study"
        )
    else:
        typer.echo(
            "to be found outside ftbench/methods, its package needs an entry point in the group `ftbench.methods`"
        )


def new_method(name: str, folder: Path | None = None) -> Path:
    """Write `<folder>/<name>.py`; a bad or taken name, an existing file or no folder raise an `FtbenchError`."""
    import keyword

    from ftbench.plugins import plugins

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise FtbenchError(
            problem(key="name", found=f"`{name}`", expected="small letters, digits and `_`, a letter first")
        )
    known = plugins("methods")
    if name in known:
        raise FtbenchError(
            problem(key="name", found=f"`{name}`, which {known[name].module} has", fix="Choose another name.")
        )
    place = folder or METHODS
    if not place.is_dir():
        fix = (
            "Run this in the project's folder, or name a folder with `--folder`."
            if folder is None
            else "Make it first."
        )
        raise FtbenchError(problem(found=f"no folder {place}", fix=fix))
    file = place / f"{name}.py"
    if file.exists():
        raise FtbenchError(problem(file=file, found="an existing file", fix="Choose another name, or delete it."))
    class_name = "".join(part.capitalize() for part in name.split("_"))
    file.write_text(METHOD.format(name=name, class_name=class_name), encoding="utf-8")
    return file
