"""Functions that rules hand to Snakemake, which looks their parameters up before each of its calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def with_parameters(function: Function) -> Function:
    """The function with its signature noted on it, so that it is worked out once and not for every job."""
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return function
