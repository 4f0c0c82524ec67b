"""A control plane that answers (moto's server in this process, fresh for each test), and the example's templates."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from eisbach.deploy.aws.package import build_package
from eisbach.deploy.aws.platform_file import Platform, load_platform
from eisbach.deploy.aws.synth import Synthesised, placeholder, synthesise


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def moto(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    import urllib.request

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    request = urllib.request.Request(f"{moto_server}/moto-api/reset", method="POST")
    urllib.request.urlopen(request, timeout=10).close()
    return moto_server


ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "aws" / "platform.toml"


@pytest.fixture(scope="session")
def example() -> Platform:
    return load_platform(EXAMPLE)


@pytest.fixture(scope="session")
def here_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The functions' archive for this machine: what the emulator runs."""
    return build_package(tmp_path_factory.mktemp("package") / "here.zip", target="here").path


@pytest.fixture(scope="session")
def synthesised(example: Platform, tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """The example's templates, judged; once a run, since building them takes seconds."""
    folder = tmp_path_factory.mktemp("cdk")
    return synthesise(example, out=folder / "cdk.out", package=placeholder(folder / "code"), judged=True)


@pytest.fixture(scope="session")
def all_templates(synthesised: Synthesised) -> dict[str, Any]:
    """Shared: a test that changes them takes a deep copy."""
    return {name: json.loads(synthesised.template(name).read_text()) for name in synthesised.stacks}
