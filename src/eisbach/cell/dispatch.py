"""From method and path to what answers: a tree of path segments, one dictionary look-up a level.

Promises: the literal segment before the parameter, whatever order routes were added in; a parameter is never empty and
never holds a slash. Starlette tries one regular expression a route, in order: 4 us a call where this needs one.
May not know: requests, handlers.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

__all__ = ["Table"]

T = TypeVar("T")


class _Node(Generic[T]):
    """A segment's place in the tree."""

    __slots__ = ("ends", "literals", "parameter")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.parameter: _Node[T] | None = None
        self.ends: dict[str, tuple[T, tuple[str, ...]]] = {}
        """Method -> (what answers, names of the path's parameters)."""


class Table(Generic[T]):
    """Filled at start, then only asked."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._literals: set[str] = set()
        """Paths without a parameter."""
        self._lasts: dict[tuple[str, str], tuple[T, str]] = {}
        """(method, path before its only parameter, the last segment) -> (what answers, the parameter's name): most
        calls are such, and need no walk.
        """

    def add(self, method: str, template: str, value: T) -> None:
        """``template``: ``/v1/me/progress/{title}``; a parameter is a whole segment. GET answers HEAD as well.

        Raises:
            ValueError: a template that is none, or one that is there already.
        """
        node, names = self._root, []
        for segment in template.split("/"):
            if segment.startswith("{"):
                names.append(segment[1:-1])
                if not names[-1].isidentifier() or not segment.endswith("}"):
                    raise ValueError(f"{segment!r} of {template!r} is not a parameter; use '{{name}}'")
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        for name in (method, "HEAD") if method == "GET" else (method,):
            if name in node.ends:
                raise ValueError(f"{method} {template} is in the table already")
            node.ends[name] = (value, tuple(names))
            if not names:
                self._literals.add(template)
            elif len(names) == 1 and template.endswith("}"):
                self._lasts[name, template.rpartition("/")[0]] = (value, names[0])

    def find(self, method: str, path: str) -> tuple[T, dict[str, str]] | None:
        """What answers, and the path's parameters; None when nothing does."""
        head, _, tail = path.rpartition("/")
        last = self._lasts.get((method, head))
        if last is not None and tail and path not in self._literals:
            return last[0], {last[1]: tail}
        values: list[str] = []
        node = _walk(self._root, path.split("/"), 0, values)
        end = node.ends.get(method) if node is not None else None
        return (end[0], dict(zip(end[1], values, strict=True))) if end is not None else None

    def methods(self, path: str) -> Sequence[str]:
        """The methods that a path takes, sorted; empty for a path that is no call."""
        node = _walk(self._root, path.split("/"), 0, [])
        return sorted(node.ends) if node is not None else []


def _walk(node: _Node[T], segments: list[str], start: int, values: list[str]) -> _Node[T] | None:
    """``values`` gets the parameters; of a turn that was wrong, some may be left in it."""
    for at in range(start, len(segments)):
        segment = segments[at]
        following, parameter = node.literals.get(segment), node.parameter
        if following is not None:
            if parameter is not None and segment:  # the only place where a turn may have to be taken back
                known = len(values)
                if (found := _walk(following, segments, at + 1, values)) is not None:
                    return found
                values[known:] = [segment]
                following = parameter
            node = following
        elif parameter is not None and segment:
            values.append(segment)
            node = parameter
        else:
            return None
    return node if node.ends else None
