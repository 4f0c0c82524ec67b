"""Terraform configuration as modules: folders of ``.tf`` files, what their variables and locals are, local calls.

Literals are followed, nothing is computed: a default, ``terraform.tfvars``, ``*.auto.tfvars``, an input of a call, a
local, ``condition ? a : b`` over a literal, an output of a local module. What needs more stays an expression with its
``${``. Functions, ``for_each`` and modules from elsewhere are resolved in plans only. Bounds: ``MODULES_MAX`` calls,
``CALLS_DEEP_MAX`` deep; a value that names itself stays an expression.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from eisbach.plan.assess.bounds import DEPTH_MAX, HCL_BYTES_MAX, Refused
from eisbach.plan.assess.paths import joined

__all__ = ["ADDRESS", "Block", "Folder", "Module", "called", "local_source", "parse"]

ADDRESS: Final = re.compile(r"(?<![\w.-])((?:module\.[\w-]+\.)*[a-z][a-z0-9]*_[a-z0-9_]+\.[A-Za-z_][\w-]*)")
"""A resource's address; one with ``module.`` before it is from a plan, or already absolute."""
CALLS_DEEP_MAX: Final = 8
MODULES_MAX: Final = 500
_TEXT_MAX: Final = 20_000
_NAME: Final = r"[A-Za-z_][\w-]*"
_WHOLE: Final = re.compile(rf"\$\{{\s*((?:var|local)\.{_NAME}|module\.{_NAME}(?:\[[^\]]*\])?\.{_NAME})\s*\}}\Z")
_IN_TEXT: Final = re.compile(rf"\$\{{\s*((?:var|local)\.{_NAME}|module\.{_NAME}(?:\[[^\]]*\])?\.{_NAME})\s*\}}")
_BARE: Final = re.compile(rf"(?<![\w.\"])((?:var|local)\.{_NAME}|module\.{_NAME}(?:\[[^\]]*\])?\.{_NAME})")
_CHOICE: Final = re.compile(
    rf"\$\{{\s*((?:var|local)\.{_NAME})\s*(?:(==|!=)\s*(\"[^\"]*\"|[\w.]+))?\s*\?\s*([^?:]+?)\s*:\s*([^?:]+?)\s*\}}\Z"
)
_START: Final = re.compile(r'^[ \t]*(resource|module)[ \t]+"([^"]+)"(?:[ \t]+"([^"]+)")?', re.MULTILINE)
_UNSET: Final = object()


def parse(text: str, file: str) -> Mapping[str, Any]:
    """A file's blocks.

    Raises:
        Refused: no HCL; with the line.
    """
    import hcl2  # brings a parser generator; only who reads Terraform pays for it

    if len(text) > HCL_BYTES_MAX:
        raise Refused(
            file, 1, f"{len(text)} characters of HCL; at most {HCL_BYTES_MAX} are parsed: give a plan instead"
        )
    if _depth(text) > DEPTH_MAX:
        raise Refused(file, 1, f"nested deeper than {DEPTH_MAX}; nobody writes that by hand")
    options = hcl2.SerializationOptions(with_comments=False)
    try:
        return hcl2.loads(text if text.endswith("\n") else f"{text}\n", serialization_options=options)
    except Exception as error:  # lark has a tree of its own, and older grammars raise others
        line = getattr(error, "line", 1)
        line = line if isinstance(line, int) and line > 0 else 1
        raise Refused(file, line, "not HCL: it cannot be parsed") from error


def _depth(text: str) -> int:
    deepest = depth = 0
    for character in text:
        depth += (character in "{[(") - (character in "}])")
        deepest = max(deepest, depth)
    return deepest


@dataclass(frozen=True, slots=True)
class Block:
    """A resource or a call as it is written."""

    kind: str
    name: str
    body: Mapping[str, Any]
    file: str
    line: int


@dataclass(slots=True)
class Folder:
    """What the files of one folder say together."""

    path: Path
    resources: list[Block] = field(default_factory=list)
    calls: dict[str, Block] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    """Name -> default; ``_UNSET`` where there is none."""
    locals: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)
    """What ``terraform.tfvars`` and ``*.auto.tfvars`` set."""
    lines: dict[str, list[str]] = field(default_factory=dict)
    """File -> its lines."""

    def take(self, text: str, file: str) -> None:
        """One more file of the folder.

        Raises:
            Refused: as ``parse``.
        """
        parsed = parse(text, file)
        self.lines[file] = text.splitlines()
        starts = {
            f"{m[1]}.{m[2] or ''}.{m[3] or ''}": text.count("\n", 0, m.start(1)) + 1 for m in _START.finditer(text)
        }
        for kind, named in _pairs(parsed.get("resource")):
            self.resources += [
                Block(kind, name, body, file, starts.get(f"resource.{kind}.{name}", 1))
                for name, body in _pairs([named])
            ]
        for name, body in _pairs(parsed.get("module")):
            self.calls.setdefault(name, Block("module", name, body, file, starts.get(f"module.{name}.", 1)))
        for name, body in _pairs(parsed.get("variable")):
            self.variables[name] = body.get("default", _UNSET)
        for name, body in _pairs(parsed.get("output")):
            self.outputs[name] = body.get("value")
        for name, value in _pairs(parsed.get("locals"), bodies=False):
            self.locals[name] = value

    def set(self, text: str, file: str) -> None:
        """A file of values.

        Raises:
            Refused: as ``parse``.
        """
        self.given.update(_pairs([parse(text, file)], bodies=False))


def _pairs(blocks: Any, *, bodies: bool = True) -> Iterator[tuple[str, Any]]:
    """(name, body) of the parser's lists of mappings, without its own marks."""
    for block in blocks if isinstance(blocks, list) else ():
        for name, body in block.items() if isinstance(block, dict) else ():
            if not str(name).startswith("__") and (not bodies or isinstance(body, dict)):
                yield str(name).strip('"'), body


class Module:
    """A folder in one place of the tree of calls: its resources, with what their variables are there."""

    def __init__(
        self, folder: Folder, folders: Mapping[Path, Folder], *, prefix: str = "",
        inputs: Mapping[str, Any] | None = None, deep: int = 0,
    ) -> None:  # fmt: skip
        self.folder, self.prefix, self._inputs, self.deep = folder, prefix, inputs, deep
        self.defaults: set[str] = set()
        """Variables of a root that no file sets, whose defaults were taken."""
        self.above = frozenset({folder.path})
        """Folders that this one was called through: Terraform refuses a module that calls itself."""
        self._folders = folders
        self._known: dict[str, Any] = {}
        self._asked: set[str] = set()
        self._children: dict[str, Module | None] = {}

    def child(self, name: str) -> "Module | None":
        """A local module that is called here; None for one from elsewhere, or beyond the bounds."""
        if name not in self._children:
            call = self.folder.calls.get(name)
            self._children[name] = None
            source = local_source(call, self.folder) if call is not None else None
            target = self._folders.get(source) if source is not None else None
            circle = target is not None and target.path in self.above
            if call is not None and target is not None and not circle and self.deep < CALLS_DEEP_MAX:
                inputs = {k: self.fill(v) for k, v in call.body.items() if not k.startswith("__")}
                child = Module(
                    target, self._folders, prefix=f"{self.prefix}module.{name}.", inputs=inputs, deep=self.deep + 1
                )
                child.above = self.above | {target.path}
                self._children[name] = child
        return self._children[name]

    def tree(self) -> Iterator["Module"]:
        """This module and all that it calls, at most ``MODULES_MAX``."""
        waiting, count = [self], 0
        while waiting and count < MODULES_MAX:
            here, count = waiting.pop(0), count + 1
            yield here
            waiting += [child for name in here.folder.calls if (child := here.child(name)) is not None]

    def fill(self, value: Any) -> Any:
        """A value with everything literal followed; addresses become absolute."""
        if isinstance(value, dict):
            return {k: v if str(k).startswith("__") else self.fill(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> Any:
        if "${" not in text or len(text) > _TEXT_MAX:
            return text
        if text.startswith('"${') and text.endswith('}"') and text.count("${") == 1:  # as Terraform 0.11 wrote it
            text = text[1:-1]
        if (whole := _WHOLE.match(text)) is not None:
            found = self._of(whole[1])
            return text if found is _UNSET else found
        if (choice := _CHOICE.match(text)) is not None and (picked := self._picked(choice)) is not None:
            return _literal(picked) if _literal(picked) is not None else self._text(f"${{{picked}}}")
        if self.prefix:
            text = ADDRESS.sub(lambda m: m[1] if m[1].startswith("module.") else self.prefix + m[1], text)
        found = _IN_TEXT.sub(lambda m: self._inline(m, "${%s}"), text)
        found = _BARE.sub(lambda m: self._inline(m, "%s"), found)
        return found if len(found) <= _TEXT_MAX else text  # locals that double each other end here

    def _inline(self, match: re.Match[str], form: str) -> str:
        found = self._of(match[1])
        if isinstance(found, bool):
            return "true" if found else "false"
        if isinstance(found, int | float):
            return str(found)
        if not isinstance(found, str):
            return match[0]
        if found.startswith("${") and found.endswith("}"):
            return form % found[2:-1]
        return found.strip('"') if form != "%s" else found

    def _picked(self, choice: re.Match[str]) -> str | None:
        """The branch that a literal condition takes, as an expression."""
        found = self._of(choice[1])
        if found is _UNSET or isinstance(found, dict | list) or (isinstance(found, str) and "${" in found):
            return None
        truth = str(found).strip('"').lower()
        if choice[2]:
            right = (truth == choice[3].strip('"').lower()) == (choice[2] == "==")
        elif truth in ("true", "false"):
            right = truth == "true"
        else:
            return None
        return choice[4] if right else choice[5]

    def _of(self, token: str) -> Any:
        """What a name is here; ``_UNSET`` where no file says it, or where it names itself."""
        if token not in self._known:
            if token in self._asked:
                return _UNSET
            self._asked.add(token)
            self._known[token] = self._looked_up(token)
        return self._known[token]

    def _looked_up(self, token: str) -> Any:
        kind, _, name = token.partition(".")
        if kind == "local":
            return self.fill(self.folder.locals[name]) if name in self.folder.locals else _UNSET
        if kind == "module":
            child = self.child(name.partition(".")[0].partition("[")[0])
            output = name.rpartition(".")[2]
            return child.fill(child.folder.outputs[output]) if child and output in child.folder.outputs else _UNSET
        for given in (self._inputs, self.folder.given if self._inputs is None else None):
            if given is not None and name in given:
                found = given[name]
                return _UNSET if isinstance(found, str) and _WHOLE.match(found) else found
        default = self.folder.variables.get(name, _UNSET)
        if default is not _UNSET and self._inputs is None:
            self.defaults.add(name)
        return _UNSET if default is None else default


def _literal(text: str) -> bool | int | str | None:
    """A literal of an expression; None for what is none."""
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"-?\d{1,18}", text):
        return int(text)
    return text if re.fullmatch(r'"[^"$]*"', text) else None


def local_source(call: Block, folder: Folder) -> Path | None:
    """The folder of a call's local source; None for a module from elsewhere."""
    source = str(call.body.get("source") or "").strip('"')
    return joined(folder.path, source) if source.startswith(("./", "../")) or source in (".", "..") else None


def called(folders: Sequence[Folder]) -> set[Path]:
    """Folders that another one calls: they are read where they are called, not as roots."""
    sources = [(local_source(call, folder), folder) for folder in folders for call in folder.calls.values()]
    return {path for path, folder in sources if path is not None and path != folder.path}
