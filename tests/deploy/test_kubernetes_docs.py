"""docs/kubernetes.md says what the manifests do, and nothing else."""

from __future__ import annotations

import re

import pytest

from runner.cli import COMMANDS
from tests.deploy.manifests import BUILDS, COMPONENTS, OVERLAYS, ROOT, Manifests, option_variables

pytestmark = pytest.mark.service("kubectl")

_TEXT = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")


def _created(text: str) -> set[str]:
    """Return the secrets that are made by the commands of a text."""
    return set(re.findall(r"create secret (?:generic|docker-registry) (\S+)", text))


def test_every_secret_that_is_made_is_used() -> None:
    """A command makes each secret that a pod takes, and no other."""
    taken = {secret for build in BUILDS for secret in Manifests.of(build).secrets()}
    assert _created(_TEXT) == taken


def test_a_secret_is_recognised() -> None:
    """The comparison above finds both forms of the command."""
    assert _created("x create secret generic a -f\ncreate secret docker-registry b \\") == {
        "a",
        "b",
    }


def test_what_dies_comes_first() -> None:
    """Nobody has to read on to know what a pod's end costs."""
    headings = re.findall(r"^## (.*)$", _TEXT, re.MULTILINE)
    assert headings[0] == "What dies with a pod"


def test_every_overlay_is_described() -> None:
    """Each overlay has its section, each component is shown in use, and no other is named."""
    assert set(re.findall(r"^## Overlay (.*)$", _TEXT, re.MULTILINE)) == set(OVERLAYS)
    assert set(re.findall(r"\.\./components/([a-z-]+)", _TEXT)) == set(COMPONENTS)
    assert set(re.findall(r"OVERLAY=([a-z-]+)\b(?!/)", _TEXT)) <= set(OVERLAYS)


def test_every_command_exists() -> None:
    """The runner has the commands that are to be typed."""
    typed = set(re.findall(r"(?:-- |    |`|=\S+ )studio-runner ([a-z]+)", _TEXT))
    assert typed
    assert typed <= set(COMMANDS)


def test_every_variable_exists() -> None:
    """What is written like a variable of the runner is one, or one of the others that are set."""
    others = {"STATE", "TERM", "OVERLAY", "CONTEXT", "DRY_RUN", "REGISTRY", "PROJECT"}
    others |= {"VERSION_TAG", "SOMEBODY", "NODE", "FILE", "LD_LIBRARY_PATH"}
    named = set(re.findall(r"`([A-Z][A-Z0-9_]{3,})[`=]", _TEXT)) - others
    assert "MAX_DISK" in named
    assert named <= set(option_variables())
