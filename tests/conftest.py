"""Shared by all tests: hypothesis profiles, and the emulated AWS regions.

A failure prints its seed; repeat it with HYPOTHESIS_PROFILE and --hypothesis-seed.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from eisbach.kernel.errors import Unavailable
from eisbach.testing.aws.dynamodb_local import DynamoDbLocal
from eisbach.testing.aws.emulator import ENVIRONMENT, AwsEmulator

settings.register_profile("default", deadline=None, print_blob=True, derandomize=True, database=None)
settings.register_profile(
    "many",
    settings.get_profile("default"),
    max_examples=5000,
    derandomize=False,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def aws_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsEmulator]:
    """Two emulated regions for the whole run; use ``aws``, which is clean."""
    emulator = AwsEmulator(tmp_path_factory.mktemp("aws")).start()
    yield emulator
    emulator.stop()


@pytest.fixture
def aws(aws_process: AwsEmulator, monkeypatch: pytest.MonkeyPatch) -> AwsEmulator:
    """Two emulated AWS regions with nothing in them and nothing broken; for tests marked ``aws``."""
    for name, word in ENVIRONMENT.items():
        monkeypatch.setenv(name, word)
    aws_process.wipe()
    return aws_process


@pytest.fixture(scope="session")
def arbiter_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DynamoDbLocal]:
    """AWS's DynamoDB Local for the whole run; use ``arbiter``, which is clean. `make aws` does not let it be absent."""
    if (wanted := os.environ.get("EISBACH_ARBITER", "")) == "no":
        pytest.skip("ARBITER=no: DynamoDB Local was not asked, so no second opinion on expressions and limits")
    try:
        local = DynamoDbLocal(tmp_path_factory.mktemp("dynamodb-local"))
    except Unavailable as absent:
        if wanted or os.environ.get("CI"):
            raise
        pytest.skip(str(absent))
    yield local.start()
    local.stop()


@pytest.fixture
def arbiter(arbiter_process: DynamoDbLocal, monkeypatch: pytest.MonkeyPatch) -> DynamoDbLocal:
    """DynamoDB as AWS itself implements it, with no table; for tests marked ``aws``."""
    for name, word in ENVIRONMENT.items():
        monkeypatch.setenv(name, word)
    arbiter_process.wipe()
    return arbiter_process
