"""Where Snakemake finds a profile by its bare name, and putting this project's profile there.

`make setup` calls it so that `snakemake --profile slurm` works as it stands. A profile of the user's own is never
replaced; the line that is printed then says how to use both.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

NAME = "slurm"
FILES = ("profile.yaml", "config.yaml")  # the older name is still read


def user_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Snakemake's folder of the user, which holds one folder for each profile."""
    home = Path(environment.get("HOME", "~")).expanduser()
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "snakemake"
    given = environment.get("XDG_CONFIG_HOME", "")
    return (Path(given) if Path(given).is_absolute() else home / ".config") / "snakemake"


def found(name: str = NAME, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder that `--profile NAME` means here, or None."""
    for place in (Path(name), user_folder(environment) / name, Path("/etc/xdg/snakemake") / name):
        if any((place / file).is_file() for file in FILES) or list(place.glob("*.v*+.yaml")):
            return place
    return None


def link(project: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Link `profiles/slurm` of the project into the user's folder unless the name is taken; says what was done."""
    ours, place = (project / "profiles" / NAME).resolve(), user_folder(environment) / NAME
    if place.is_symlink() and place.resolve() == ours:
        return f"`snakemake --profile {NAME}` uses {ours}"
    if place.is_symlink() and not place.exists():
        place.unlink()  # it led to a project that is gone
    if place.exists():
        return (
            f"{place} is there already and was left as it is. To use it together with this project's, give both: "
            f"snakemake --profile profiles/{NAME} --profile {NAME} (keys of the later one win); or copy the keys you "
            f"want from profiles/{NAME}/profile.yaml into it."
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(ours, target_is_directory=True)
    except OSError as error:  # setting up must not end for it: a path works as well as a name
        return f"{place} could not be made ({error}); use snakemake --profile profiles/{NAME} instead"
    return f"linked {place} to {ours}: `snakemake --profile {NAME}` works here"


def main() -> None:
    print(link(Path.cwd()))


if __name__ == "__main__":
    main()
