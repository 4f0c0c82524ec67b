"""``eisbach events schemas``: which event types there are, their JSON Schemas, and whether a release was broken."""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from eisbach.cli.shared import Shared, say, show_json, verb
from eisbach.kernel.errors import Invalid

__all__ = ["EXAMPLE", "command"]

EXAMPLE: Final = "Example: eisbach events schemas tv.catalog.title.published.v1"


@verb
def command(
    name: Annotated[str | None, typer.Argument(help="Event type; absent: list all.")] = None,
    *,
    shared: Shared,
    check: Annotated[Path | None, typer.Option(help="Folder of released schemas to compare with.")] = None,
) -> None:
    """List the event types, print a type's JSON Schema, or compare all with those of a release."""
    from eisbach.hub.events import BUILT_IN

    if check is not None:
        _check(check, shared)
    elif name is not None:
        show_json(BUILT_IN.schema(name))
    elif shared.as_json:
        show_json({"schemas": {known: BUILT_IN.schema(known) for known in BUILT_IN.kinds}})
    else:
        for known, kind in BUILT_IN.kinds.items():
            say(f"{known:<38} {kind.__name__:<18} {(kind.__doc__ or '').partition(chr(10))[0]}")
        say(f"{len(BUILT_IN.kinds)} event types. Next: eisbach events schemas TYPE")


def _check(folder: Path, shared: Shared) -> None:
    from eisbach.hub.events import BUILT_IN
    from eisbach.kernel.schema_changes import broken_by

    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise Invalid(f"{folder} holds no schemas; in a clone they are in schemas/events")
    broken: dict[str, list[str]] = {}
    for path in paths:
        known = path.stem in BUILT_IN.kinds
        found = broken_by(_released(path), BUILT_IN.schema(path.stem)) if known else ["the type is gone"]
        if found:
            broken[path.stem] = found
    if shared.as_json:
        show_json({"compared": len(paths), "broken": broken})
    else:
        for type_, reasons in broken.items():
            for reason in reasons:
                say(f"{type_}: {reason}")
        say(f"{len(paths)} schemas compared, {len(broken)} broken. Next: eisbach events schemas")
    if broken:
        raise typer.Exit(2)


def _released(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise Invalid(f"{path} is no schema: {error}; take it from the release again") from error
    if not isinstance(found, dict):
        raise Invalid(f"{path} is no schema: it holds no object; take it from the release again")
    return found
