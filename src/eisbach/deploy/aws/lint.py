"""``cfn-lint`` over synthesised templates: AWS's own resource schemas, which the package brings.

Promises: offline; a rule that is off has its reason here; what is found is one line with file, rule and place.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from eisbach.kernel.errors import Unavailable

__all__ = ["OFF", "lint"]

OFF: Final[Mapping[str, str]] = {
    "W3005": "the CDK writes DependsOn that a reference already implies; harmless, and not ours to change",
    "W3010": "zones are named on purpose: synthesis asks no account, and the platform file says them",
}
_SECONDS_MAX: Final = 300


def lint(templates: Sequence[Path]) -> list[str]:
    """What it found; empty: clean.

    Raises:
        Unavailable: it did not run to its end.
    """
    off = [word for rule in OFF for word in ("--ignore-checks", rule)]
    command = [
        sys.executable,
        "-c",
        "from cfnlint.runner import main; main()",
        "--format",
        "json",
        *off,
        "--",
        *map(str, templates),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"cfn-lint did not end within {_SECONDS_MAX} s") from error
    try:
        found = json.loads(done.stdout)
    except ValueError as error:
        raise Unavailable(f"cfn-lint ended with {done.returncode}: {done.stderr[-500:]}") from error
    return [
        f"{Path(one['Filename']).name}: {one['Rule']['Id']} {one['Level']} at {_place(one)}: {one['Message']}"
        for one in found
    ]


def _place(one: Mapping[str, Mapping[str, Sequence[object]]]) -> str:
    return "/".join(str(part) for part in one["Location"].get("Path") or ["?"])
