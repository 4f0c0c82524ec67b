"""The node under the CDK says nothing on our outputs and leaves nothing behind, however it ends."""

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eisbach.deploy.aws import node

EXAMPLE = Path(__file__).parents[3] / "examples" / "aws" / "platform.toml"
SYNTHESISE = f"""
import json
from pathlib import Path
from eisbach.deploy.aws.node import last_words
from eisbach.deploy.aws.platform_file import load_platform
from eisbach.deploy.aws.synth import placeholder, synthesise
synthesise(load_platform(Path({str(EXAMPLE)!r})), out=Path("out"), package=placeholder(Path("code")), judged=JUDGED)
"""
KILL = """
from jsii._runtime import kernel
process = kernel.provider._process._process
process.kill()
process.wait()
print(json.dumps(process.pid))
"""


def run(code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """As outside of pytest: the CDK prints no findings where it sees a run of it."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=plain, capture_output=True, text=True, check=False
    )


def test_what_node_says_is_kept_and_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    said = base64.b64encode(b"findings of cdk-nag\nand more\n").decode()
    node.listen(io.BytesIO(json.dumps({"stderr": said}).encode() + b"\nnode: a trace of its own\n[1]\n"))

    assert node.last_words()[-4:] == ["findings of cdk-nag", "and more", "node: a trace of its own", "[1]"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("imported", ["eisbach.deploy.aws.stacks.edge", "eisbach.deploy.aws.stacks.delivery"])
def test_a_module_of_the_stacks_brings_its_own_node_and_ends_it_quietly_when_it_has_died(
    tmp_path: Path, imported: str
) -> None:
    """As Ctrl-C does to both, in a run of tests that imports stacks and synthesises nothing."""
    done = run(f"import json, {imported}\n{KILL}", tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    with pytest.raises(ProcessLookupError):
        os.kill(json.loads(done.stdout), 0)


@pytest.mark.aws
def test_a_node_that_died_leaves_no_traceback_and_nothing_running(tmp_path: Path) -> None:
    done = run(SYNTHESISE.replace("JUDGED", "False") + KILL, tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    with pytest.raises(ProcessLookupError):
        os.kill(json.loads(done.stdout), 0)


@pytest.mark.aws
def test_a_judged_synthesis_prints_none_of_cdk_nags_lines_and_keeps_them(tmp_path: Path) -> None:
    """They come from a thread, whenever it gets to them: also after the synthesis has returned."""
    ended = "from jsii._runtime import kernel\nkernel.provider._process.stop()\nprint(len(last_words()))"
    done = run(SYNTHESISE.replace("JUDGED", "True") + ended, tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 0
