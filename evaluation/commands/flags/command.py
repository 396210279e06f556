"""How a function becomes a command: a group of flags is one parameter, and some flags are everyone's."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from inspect import Parameter
from typing import Annotated, Any, get_type_hints

import typer

from evaluation.commands.printing import Result
from evaluation.commands.printing.loudness import speaking

_OUTPUT = {
    "quiet": (("--quiet", "-q"), "Say nothing of progress: only the result, and warnings."),
    "verbose": (("--verbose", "-v"), "Say every step as a line, and what libraries say."),
    "as_json": (("--json",), "Print machine-readable JSON and nothing else."),
}
"""Flags that every command has."""


def command(function: Callable[..., Result]) -> Callable[..., None]:
    """Return a function as typer takes it: it has the flags `--json`, `-q` and `-v`, and prints what
    `function` returns.

    A parameter whose type is a dataclass of flags stands, in its place, for one flag per field; `function`
    gets the flags as that dataclass.
    """
    groups: dict[str, Any] = {}
    parameters: list[Parameter] = []
    hints = get_type_hints(function, include_extras=True)
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if is_dataclass(hint):
            groups[parameter.name] = hint
            parameters += _flags_of(hint)
        else:
            parameters.append(parameter.replace(annotation=hint, kind=Parameter.KEYWORD_ONLY))

    @functools.wraps(function)
    def printed(*, as_json: bool, quiet: bool, verbose: bool, **flags: Any) -> None:
        for name, group in groups.items():
            flags[name] = group(**{field.name: flags.pop(field.name) for field in fields(group)})
        with speaking(quiet=quiet, verbose=verbose):
            function(**flags).print(as_json=as_json)

    # Set by hand, for typer reads both, and the wrapped function's own are others.
    parameters += _output_flags()
    printed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    printed.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return printed


def _output_flags() -> list[Parameter]:
    return [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[bool, typer.Option(*flags, help=says, rich_help_panel="Output")],
        )
        for name, (flags, says) in _OUTPUT.items()
    ]


def _flags_of(group: Any) -> list[Parameter]:
    """Return the fields of a dataclass of flags as parameters."""
    return [
        parameter.replace(annotation=hint, kind=Parameter.KEYWORD_ONLY)
        for parameter, hint in zip(
            inspect.signature(group).parameters.values(),
            (get_type_hints(group, include_extras=True)[field.name] for field in fields(group)),
            strict=True,
        )
    ]
