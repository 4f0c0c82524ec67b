"""How bugs are planted into the production code while a run is on, and taken out again.

Plant one of your own: write a function that takes ``patch`` and calls ``patch(owner, "name", replacement)`` for
whatever it breaks, with ``@mutant("what a person would call the bug")`` above; its name becomes the one of
``eisbach simulate --mutant``. docs/simulation.md.
"""

import difflib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, NamedTuple

from eisbach.kernel.errors import NotFound

__all__ = ["MUTANTS", "Edit", "Mutant", "Patch", "mutant", "planted", "rewritten"]

Patch = Callable[[Any, str, Any], None]
Edit = tuple[str, str]
"""Words of a function's source, and what stands there instead."""
By = Literal["author", "model", "reader", "stranger"]
"""Who thought of it: who wrote the code and the judge; the protocol's models, of which every mutant is a bug that
somebody really wrote; a reader of design and production code before he looked at what the judge finds; or a stranger,
who knew design and production code only, when there was a judge already: half of all bugs are theirs."""


class Mutant(NamedTuple):
    """A bug to plant."""

    bug: str
    """In words."""
    plant: Callable[[Patch], None]
    by: By


MUTANTS: Final[dict[str, Mutant]] = {}
"""By name."""


def mutant(bug: str, *, by: By = "author") -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Put a mutant into the table."""

    def keep(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        MUTANTS[plant.__name__.replace("_", "-")] = Mutant(bug, plant, by)
        return plant

    return keep


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Run with a mutant, or with none for the empty name; everything is put back afterwards.

    Raises:
        NotFound: no such mutant.
    """
    before: list[tuple[Any, str, Any]] = []

    def patch(owner: Any, attribute: str, value: Any) -> None:
        _check_fits(vars(owner)[attribute], value, f"{getattr(owner, '__name__', owner)}.{attribute}")
        before.append((owner, attribute, vars(owner)[attribute]))
        setattr(owner, attribute, value)

    if name and name not in MUTANTS:
        (near,) = difflib.get_close_matches(name, MUTANTS, n=1, cutoff=0.0)
        raise NotFound(
            f"there is no mutant {name!r} among {len(MUTANTS)}; nearest is {near!r}; "
            "eisbach simulate --mutant list names them all"
        )
    try:
        if name:
            MUTANTS[name].plant(patch)
        yield
    finally:
        for owner, attribute, value in reversed(before):
            setattr(owner, attribute, value)


def _check_fits(function: Any, replacement: Any, name: str) -> None:
    """Whether the replacement takes what the function takes: else it is found by the TypeError, not by its bug."""
    if not (inspect.isfunction(function) and inspect.isfunction(replacement)):
        return
    (places, names, _), (theirs, their_names, takes) = _taken(function), _taken(replacement)
    more_places = places > theirs and inspect.Parameter.VAR_POSITIONAL not in takes
    more_names = names - their_names if inspect.Parameter.VAR_KEYWORD not in takes else set()
    if more_places or more_names:
        raise LookupError(f"{name} takes {places} in place and {sorted(names)} by name, its replacement does not")


def _taken(function: Any) -> tuple[int, set[str], set[Any]]:
    parameters = inspect.signature(function).parameters.values()
    in_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    by_name = {one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}
    return sum(one.kind in in_place for one in parameters), by_name, {one.kind for one in parameters}


def rewritten(function: Any, *edits: Edit) -> Any:
    """The same function, method or property with words of its source exchanged.

    Raises:
        LookupError: words that are not there exactly once: the mutant is out of date, write it anew.
    """
    inner: Any = function.fget if isinstance(function, property) else function
    text = textwrap.dedent(inspect.getsource(inner))
    for before, after in edits:
        if text.count(before) != 1:
            raise LookupError(f"{inner.__qualname__} has {before!r} {text.count(before)} times, not once")
        text = text.replace(before, after)
    found: dict[str, Any] = {}
    exec(compile(text, inspect.getfile(inner), "exec"), inner.__globals__, found)  # noqa: S102 - our own source
    return found[inner.__name__]
