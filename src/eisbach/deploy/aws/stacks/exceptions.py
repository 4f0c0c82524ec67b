"""Exceptions from the policy checks: where, which rule, and why it is right here. ``eisbach deploy check`` lists them.

Promises: an exception is of one rule at one construct and what is inside it; an exception for wildcards names each
wildcard, so that a new one is found; one that nothing needs any more is a finding itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["Accepted", "Finding", "accept", "accepted", "left_over"]

_ATTRIBUTE = "_eisbach_accepted"


@dataclass(frozen=True, slots=True)
class Accepted:
    """One exception."""

    path: str
    rule: str
    reason: str

    def covers(self, finding: "Finding") -> bool:
        """Whether it is this finding's."""
        inside = finding.path == self.path or finding.path.startswith(self.path + "/")
        return inside and finding.rule == self.rule


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What a policy check found."""

    path: str
    """Of the construct."""
    rule: str
    """With what it found, for wildcards: ``AwsSolutions-IAM5[Resource::*]``."""
    text: str


def accept(construct: Any, rule: str, reason: str) -> None:
    """Accept what ``rule`` finds at ``construct`` and inside it."""
    root = construct.node.root
    found: list[Accepted] = getattr(root, _ATTRIBUTE, [])
    found.append(Accepted(path=construct.node.path, rule=rule, reason=reason))
    setattr(root, _ATTRIBUTE, found)


def accepted(app: Any) -> list[Accepted]:
    """All exceptions of an application, in the order in which they were made."""
    return list(getattr(app, _ATTRIBUTE, []))


def left_over(findings: Iterable[Finding], exceptions: Iterable[Accepted]) -> list[Finding]:
    """Findings that no exception covers, and exceptions that cover nothing, as findings."""
    found, known = list(findings), list(exceptions)
    open_ = [f for f in found if not any(e.covers(f) for e in known)]
    idle = [e for e in known if not any(e.covers(f) for f in found)]
    return sorted(open_) + [Finding(e.path, e.rule, f"an exception that nothing needs: {e.reason}") for e in idle]
