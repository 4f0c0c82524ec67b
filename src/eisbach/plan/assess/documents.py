"""YAML and JSON as values that know their line, within bounds, whatever the bytes are.

YAML is read by its events (libyaml's parser), never by constructing objects: a tag can name no class, depth and size
are counted before anything is built, and an alias costs what it would cost written out. JSON has a scanner of its own,
because the standard library's knows no lines. Neither recurses: nesting ends in ``Refused``, not in the stack.

Short tags of CloudFormation become their long form (``!GetAtt a.b`` -> ``{"Fn::GetAtt": ["a", "b"]}``).
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, Self

import yaml

from eisbach.plan.assess.bounds import ALIASED_NODES_MAX, DEPTH_MAX, NODES_MAX, Refused

__all__ = ["Node", "read_json", "read_yaml"]

_INT: Final = re.compile(r"[-+]?[0-9]{1,18}\Z", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?\Z", re.ASCII)
_WORDS: Final = {"": None, "~": None, "null": None, "Null": None, "NULL": None,
                 "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}  # fmt: skip
_LONG: Final = {"Ref": "Ref", "Condition": "Condition", "Transform": "Fn::Transform"}
_FUNCTIONS: Final = frozenset(
    [
        "And",
        "Base64",
        "Cidr",
        "Equals",
        "FindInMap",
        "GetAtt",
        "GetAZs",
        "If",
        "ImportValue",
        "Join",
        "Length",
        "Not",
        "Or",
        "Select",
        "Split",
        "Sub",
        "ToJsonString",
    ]
)
_JSON: Final = re.compile(
    r"[ \t\r\n]*(?:([{}\[\]:,])"
    r"|\"((?:[^\"\\\x00-\x1f]|\\.)*)\""
    r"|(-?(?:0|[1-9][0-9]{0,300})(?:\.[0-9]{1,300})?(?:[eE][-+]?[0-9]{1,3})?)"
    r"|(true|false|null))"
)


class Node:
    """A value and where it stands. In a mapping, ``line`` is the line of the key: where people look for it."""

    __slots__ = ("depth", "line", "value", "weight")

    def __init__(self, value: Any, line: int, weight: int = 1, depth: int = 0) -> None:
        self.value, self.line, self.weight, self.depth = value, line, weight, depth

    def get(self, *path: str) -> "Node":
        """The value under a path of keys; an empty node at the same line where there is none."""
        here = self
        for key in path:
            found = here.value.get(key) if isinstance(here.value, dict) else None
            if found is None:
                return Node(None, here.line)
            here = found
        return here

    def items(self) -> Iterator[tuple[str, "Node"]]:
        """Keys and values of a mapping; nothing of anything else."""
        return iter(self.value.items() if isinstance(self.value, dict) else ())

    def each(self) -> Iterator["Node"]:
        """The members of a list; a single value is a list of one; nothing is none."""
        if isinstance(self.value, list):
            return iter(self.value)
        return iter(() if self.value is None else (self,))

    def text(self) -> str:
        """A scalar as text; nothing for anything else."""
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        return "" if self.value is None or isinstance(self.value, dict | list) else str(self.value)

    def number(self) -> float | None:
        """A finite number, also one written as text."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float | str):
            return None
        try:
            found = float(self.value)
        except (ValueError, OverflowError):
            return None
        return found if abs(found) < 1e18 else None

    def integer(self) -> int | None:
        """A whole number, also one written as text."""
        found = self.number()
        return int(found) if found is not None and found == int(found) else None

    def flag(self) -> bool | None:
        """True or false, also written as text; None when it is neither."""
        return {"true": True, "false": False}.get(self.text().lower())

    def plain(self) -> Any:
        """The value without lines."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        return [child.plain() for child in self.value] if isinstance(self.value, list) else self.value

    def texts(self) -> Iterator["Node"]:
        """Every scalar below, with its line."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            if isinstance(node.value, dict):
                waiting.extend(reversed(node.value.values()))
            elif isinstance(node.value, list):
                waiting.extend(reversed(node.value))
            elif node.value is not None:
                yield node


class _Builder:
    """Builds nodes from a flat row of starts, ends and scalars; holds the bounds."""

    def __init__(self, file: str) -> None:
        self.file, self.count, self.roots = file, 0, list[Node]()
        self._stack: list[tuple[Node, str | None, str | None]] = []
        self._keys: list[tuple[str, int] | None] = []
        self._anchors: dict[str, Node] = {}

    def document(self) -> None:
        self._anchors = {}

    def start(self, value: dict[str, Node] | list[Node], line: int, tag: str | None, anchor: str | None) -> None:
        if len(self._stack) >= DEPTH_MAX:
            raise Refused(self.file, line, f"nested deeper than {DEPTH_MAX}; nobody writes that by hand")
        self._count(line)
        self._stack.append((Node(value, line), tag, anchor))
        self._keys.append(None)

    def end(self) -> None:
        node, tag, anchor = self._stack.pop()
        self._keys.pop()
        children: list[Node] = list(node.value.values() if isinstance(node.value, dict) else node.value)
        node.weight = 1 + sum(child.weight for child in children)
        node.depth = 1 + max((child.depth for child in children), default=0)
        if node.weight > ALIASED_NODES_MAX or node.depth > DEPTH_MAX:
            raise Refused(self.file, node.line, f"aliases make this {node.weight} values; at most {ALIASED_NODES_MAX}")
        if isinstance(node.value, dict) and "<<" in node.value:
            _merge(node)
        self._finished(node, tag, anchor)

    def scalar(self, value: Any, line: int, tag: str | None = None, anchor: str | None = None) -> None:
        self._count(line)
        if self._wants_key():
            self._keys[-1] = ("" if value is None else str(value), line)
            if anchor is not None:
                self._anchors[anchor] = Node(value, line)
            return
        self._finished(Node(value, line), tag, anchor)

    def alias(self, name: str, line: int) -> None:
        found = self._anchors.get(name)
        if found is None:
            raise Refused(self.file, line, f"alias *{name[:60]} names no anchor that is complete here")
        self._count(line)
        if self._wants_key():
            self._keys[-1] = (found.text(), line)
            return
        self._place(found)

    def is_key(self) -> bool:
        return self._wants_key()

    def _wants_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1][0].value, dict) and self._keys[-1] is None

    def _count(self, line: int) -> None:
        self.count += 1
        if self.count > NODES_MAX:
            raise Refused(self.file, line, f"more than {NODES_MAX} values in one file")

    def _finished(self, node: Node, tag: str | None, anchor: str | None) -> None:
        node = _tagged(node, tag)
        if anchor is not None:
            self._anchors[anchor] = node
        self._place(node)

    def _place(self, node: Node) -> None:
        if not self._stack:
            self.roots.append(node)
        elif isinstance(parent := self._stack[-1][0].value, list):
            parent.append(node)
        else:
            key = self._keys[-1]
            if key is None:
                raise Refused(self.file, node.line, "a mapping or list is used as a key; keys are text here")
            if key[0] in parent and key[0] == "<<":
                node = Node([*parent["<<"].each(), *node.each()], node.line, node.weight, node.depth)
            elif key[0] in parent:
                first = parent[key[0]].line
                raise Refused(self.file, key[1], f"key {key[0][:60]!r} is written twice, first in line {first}")
            parent[key[0]] = Node(node.value, key[1], node.weight, node.depth)
            self._keys[-1] = None


def _merge(node: Node) -> None:
    """The merge key of YAML 1.1: what is written wins, then the earlier of the merged."""
    merged: dict[str, Node] = {}
    for source in reversed(list(node.value["<<"].each())):
        merged.update(source.items())
    merged.update((key, child) for key, child in node.value.items() if key != "<<")
    node.value = merged


def _tagged(node: Node, tag: str | None) -> Node:
    name = (tag or "")[1:]
    if not (tag or "").startswith("!") or (name not in _FUNCTIONS and name not in _LONG):
        return Node(None, node.line) if tag == "!reset" else node
    if name == "GetAtt" and isinstance(node.value, str):
        head, _, tail = node.value.partition(".")
        node = Node([Node(head, node.line), Node(tail, node.line)], node.line, 3, 1)
    return Node({_LONG.get(name, f"Fn::{name}"): node}, node.line, node.weight + 1, node.depth + 1)


def _plain(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "0123456789+-.":
        if _INT.match(text):
            return int(text)
        if _FLOAT.match(text):
            return float(text)
    return text


class _Loader(yaml.CSafeLoader):
    """Only its parser is used."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dispose()


def read_yaml(text: str, file: str) -> list[Node]:
    """The documents of a file.

    Raises:
        Refused: no YAML, or beyond the bounds; with the line.
    """
    build = _Builder(file)
    try:
        with _Loader(text) as loader:
            while loader.check_event():
                _take(build, loader.get_event())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = error.problem or error.context or "cannot be read"
        raise Refused(file, mark.line + 1 if mark else 1, f"not YAML: {why}") from error
    except (yaml.YAMLError, ValueError, UnicodeError) as error:
        raise Refused(file, 1, f"not YAML: {str(error).splitlines()[0][:200]}") from error
    return build.roots


def _take(build: _Builder, event: Any) -> None:
    kind = type(event)
    if kind is yaml.ScalarEvent:
        plain = event.implicit[0] and not build.is_key() and not event.style
        value = _plain(event.value) if plain else event.value
        build.scalar(value, event.start_mark.line + 1, event.tag, event.anchor)
    elif kind is yaml.MappingStartEvent:
        build.start({}, event.start_mark.line + 1, event.tag, event.anchor)
    elif kind is yaml.SequenceStartEvent:
        build.start([], event.start_mark.line + 1, event.tag, event.anchor)
    elif kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
        build.end()
    elif kind is yaml.AliasEvent:
        build.alias(event.anchor, event.start_mark.line + 1)
    elif kind is yaml.DocumentStartEvent:
        build.document()


def read_json(text: str, file: str) -> list[Node]:
    """The documents of a file; more than one may stand in a row, as OpenTelemetry's file exporter writes them.

    Raises:
        Refused: no JSON, or beyond the bounds; with the line.
    """
    build, open_, wants = _Builder(file), list[str](), "value"
    line, place, end = 1, 0, len(text.rstrip(" \t\r\n"))
    while place < end:
        found = _JSON.match(text, place)
        if found is None:
            line += len(re.match(r"[ \t\r\n]*", text[place:end]).group().split("\n")) - 1  # type: ignore[union-attr]  # always fits
            raise Refused(file, line, f"not JSON: {text[place:end].lstrip()[:30]!r} is not expected")
        line += text.count("\n", place, found.start(found.lastindex or 0))
        place = found.end()
        wants = _json_token(build, open_, wants, found, line)
    if open_ or wants not in ("value", "end"):
        raise Refused(file, line, "not JSON: it ends in the middle")
    return build.roots


def _json_token(build: _Builder, open_: list[str], wants: str, found: re.Match[str], line: int) -> str:
    """One token; returns what may come next: value, key, colon, more (comma or end)."""
    mark, string, number, word = found.groups()
    after = "more" if open_ else "value"
    if mark in ("{", "["):
        if not wants.startswith("value"):
            raise Refused(build.file, line, f"not JSON: {mark!r} is not expected")
        build.start({} if mark == "{" else [], line, None, None)
        open_.append(mark)
        return "key or end" if mark == "{" else "value or end"
    if mark in ("}", "]"):
        closes = open_ and open_[-1] == ("{" if mark == "}" else "[")
        if not closes or wants not in ("more", "key or end", "value or end"):
            raise Refused(build.file, line, f"not JSON: {mark!r} is not expected")
        open_.pop()
        build.end()
        return "more" if open_ else "value"
    if mark == ":" and wants == "colon":
        return "value"
    if mark == "," and wants == "more":
        return "key" if open_[-1] == "{" else "value"
    if string is not None and wants.startswith("key"):
        build.scalar(_unescaped(string, build.file, line), line)
        return "colon"
    if mark is not None or not wants.startswith("value"):
        raise Refused(build.file, line, f"not JSON: {found.group().strip()[:30]!r} is not expected")
    if string is not None:
        build.scalar(_unescaped(string, build.file, line), line)
    else:
        build.scalar(_WORDS[word] if word else float(number) if not number.lstrip("-").isdigit() else int(number), line)
    return after


def _unescaped(text: str, file: str, line: int) -> str:
    if "\\" not in text:
        return text
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError as error:
        raise Refused(file, line, f"not JSON: {error}") from error
