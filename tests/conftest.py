"""What every test gets: one event loop backend, its services, a check that nothing is left."""

from __future__ import annotations

import gc
import os
import sys

import hypothesis
import pytest

from tests.leaks import leak_check
from tests.logging_state import logging_put_back
from tests.servers.apptainer import image, image_file
from tests.servers.fake_gcs import gcs_bucket, gcs_server
from tests.servers.moto import moto_bucket, moto_server
from tests.servers.nvml import nvml, nvml_library
from tests.servers.pubsub import pubsub_emulator, pubsub_fake
from tests.servers.rabbitmq import rabbit_server
from tests.servers.seaweed import alice_bucket, public_bucket, seaweed_bucket, seaweed_server
from tests.services import pytest_runtest_setup

__all__ = [
    "alice_bucket",
    "anyio_backend",
    "gcs_bucket",
    "gcs_server",
    "image",
    "image_file",
    "leak_check",
    "logging_put_back",
    "moto_bucket",
    "moto_server",
    "nvml",
    "nvml_library",
    "public_bucket",
    "pubsub_emulator",
    "pubsub_fake",
    "pytest_runtest_setup",
    "rabbit_server",
    "seaweed_bucket",
    "seaweed_server",
]

# Containers like to switch this off: then every worker compiles all tests anew, which takes it a
# quarter of a minute, and every command that a test starts compiles itself.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Examples are not timed: a busy machine is no counterexample. CI tries the same ones every time.
hypothesis.settings.register_profile(
    "studio-runner", deadline=None, print_blob=True, derandomize=bool(os.environ.get("CI"))
)
hypothesis.settings.load_profile("studio-runner")


def pytest_collection_finish() -> None:
    """Have the garbage collector look at what tests make, not at thousands of collected tests.

    The check for leaks collects whenever something seems to be left.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def anyio_backend() -> str:
    """The product runs on asyncio, and so do its tests."""
    return "asyncio"
