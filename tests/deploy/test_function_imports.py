"""What Lambda functions load, before anything is packed: said here in a second, in ``make aws`` after minutes."""

import subprocess
import sys

import pytest

from eisbach.deploy.aws.package import sources

HANDLERS = ("archive", "claims", "http", "jobs", "relay", "spoke")
_LOAD = """
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("apsw", "nats"):
            raise ModuleNotFoundError(f"{name} is not in the package")
sys.meta_path.insert(0, Absent())
importlib.import_module("eisbach.deploy.aws.handlers." + sys.argv[1])
print(*(m for m in sys.modules if m.startswith("eisbach")), sep="\\n")
"""


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_function_loads_without_sqlite_and_nats_and_only_what_is_packed(handler: str) -> None:
    done = subprocess.run([sys.executable, "-c", _LOAD, handler], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    packed = {path.as_posix().partition("/src/")[2] for path in sources()}

    loaded = [name.replace(".", "/") for name in done.stdout.split()]
    assert [name for name in loaded if not {f"{name}.py", f"{name}/__init__.py"} & packed] == []
