"""Shared by all tests: hypothesis profiles. A failure prints its seed; repeat it with HYPOTHESIS_PROFILE and --hypothesis-seed."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, print_blob=True, derandomize=True, database=None)
settings.register_profile(
    "many",
    settings.get_profile("default"),
    max_examples=5000,
    derandomize=False,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
