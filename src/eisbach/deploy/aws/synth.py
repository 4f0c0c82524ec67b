"""Turn a platform file into templates, without an account, a network or the CDK's command line.

Promises: equal inputs give equal templates; only ``out`` is written, whole or not at all; a place that cannot be
written is refused before anything starts, and no node is left running (node.py). Node comes from a wheel.
"""

import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eisbach.deploy.aws.node import prepare_node
from eisbach.deploy.aws.platform_file import Platform
from eisbach.kernel.errors import Invalid

if TYPE_CHECKING:
    from eisbach.deploy.aws.stacks.exceptions import Accepted, Finding

__all__ = ["PLACEHOLDER", "Synthesised", "builtin_spokes", "placeholder", "synthesise"]

PLACEHOLDER: Final = (
    "raise RuntimeError('synthesised without a package: eisbach deploy package, then synth --package')\n"
)


@dataclass(frozen=True)
class Synthesised:
    """What a synthesis left."""

    folder: Path
    stacks: tuple[str, ...]
    """In the order of deployment."""
    accepted: "tuple[Accepted, ...]"
    findings: "tuple[Finding, ...]"
    """Of the policy checks, what no exception covers, and exceptions that cover nothing; empty: clean, or not asked."""

    def template(self, stack: str) -> Path:
        """The file of one stack's template."""
        return self.folder / f"{stack}.template.json"


def builtin_spokes() -> dict[str, tuple[str, ...]]:
    """Name -> event types, of the spokes that every platform has."""
    from eisbach.spokes.ingest import INGEST_SPOKES

    return {spec.name: tuple(sorted(spec.types)) for spec in INGEST_SPOKES}


def placeholder(folder: Path) -> Path:
    """A function's code that says what is missing, for checks that deploy nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "missing.py").write_text(PLACEHOLDER)
    return folder


def synthesise(
    platform: Platform,
    *,
    out: Path,
    package: Path,
    spokes: Mapping[str, Sequence[str]] | None = None,
    judged: bool = False,
) -> Synthesised:
    """Write templates and assets to ``out``, which is emptied first; ``judged``: run the policy checks too.

    Raises:
        Invalid: the extra is missing, ``out`` is not a folder of an earlier synthesis or cannot be written,
            ``package`` is not there.
    """
    prepare_node()
    _check_package(package)
    unfinished = _room(out)
    import aws_cdk as cdk

    from eisbach.deploy.aws.stacks.app import build
    from eisbach.deploy.aws.stacks.exceptions import accepted, left_over

    app = build(platform, package, spokes if spokes is not None else builtin_spokes(), out=unfinished)
    findings: tuple[Finding, ...] = ()
    if judged:
        from eisbach.deploy.aws.stacks.policies import judge

        findings = tuple(left_over(judge(app, unfinished), accepted(app)))
    else:
        app.synth()
    if out.exists():
        shutil.rmtree(out)
    unfinished.rename(out)
    order = [stack.stack_name for stack in app.node.children if isinstance(stack, cdk.Stack)]
    return Synthesised(folder=out, stacks=tuple(_ordered(order)), accepted=tuple(accepted(app)), findings=findings)


def _check_package(package: Path) -> None:
    if not package.exists():
        raise Invalid(f"no package at {package}; eisbach deploy package makes one")
    if not package.is_dir() and not zipfile.is_zipfile(package):
        raise Invalid(f"{package} is no zip archive; eisbach deploy package makes one")


def _room(out: Path) -> Path:
    """A fresh folder beside ``out``. Made here and not by node, which tries for ever where none can be made (/proc)."""
    unfinished = out.with_name(out.name + ".unfinished")
    try:
        if out.exists() and any(out.iterdir()) and not (out / "manifest.json").exists():
            raise Invalid(
                f"{out} is not empty and not of an earlier synthesis; it would be deleted: name another folder"
            )
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(parents=True)
    except NotADirectoryError as error:
        raise Invalid(f"--out {out} is a file, or lies below one; name a folder for the templates") from error
    except OSError as error:
        raise Invalid(f"--out {out} cannot be written ({error.strerror}); name another folder") from error
    return unfinished


def _ordered(names: Sequence[str]) -> Iterator[str]:
    """Ground, data, regions, edge."""
    for word in ("-ground-", "-data", "-region-", "-edge"):
        yield from (name for name in names if word in name)
