"""A machine of the test's own, with nothing on it, for the doctor to look at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.doctor.check import Finding, Verdict
from runner.doctor.examination import Tell
from runner.doctor.patient import Bucket, Patient, admitted
from runner.settings import Settings
from tests.servers.pubsub import pubsub_fake

__all__ = ["clinic", "pubsub_fake"]

Look = Callable[[Patient, Tell], Awaitable[None]]


@dataclass(frozen=True)
class Found:
    """What a look at one subject told."""

    findings: tuple[Finding, ...]

    def about(self, words: str) -> Finding:
        """Return the one finding about this."""
        (found,) = [one for one in self.findings if words in one.about]
        return found

    def saying(self, words: str) -> Finding:
        """Return the one finding that says this."""
        (found,) = [one for one in self.findings if words in one.sentence]
        return found

    @property
    def verdicts(self) -> list[Verdict]:
        """All of them."""
        return [one.verdict for one in self.findings]


@dataclass(frozen=True)
class Clinic:
    """Directories below one root, and what is looked at there."""

    root: Path

    def settings(self, *argv: str) -> Settings:
        """Return settings that stay below the root."""
        named = {
            "--queue-root": "queues",
            "--certs-dir": "certs",
            "--state-dir": "state",
            "--local-store-root": "store",
            "--lock-dir": "locks",
        }
        places = [word for name, place in named.items() for word in (name, str(self.root / place))]
        usual = ("--allow-root-experiments", "--listen", "127.0.0.1:0")
        return Settings.load([*places, *usual, *argv], {"HOME": str(self.root)}, command="doctor")

    async def patient(
        self,
        *argv: str,
        environ: Mapping[str, str] | None = None,
        may_write: bool = False,
        buckets: tuple[Bucket, ...] = (),
    ) -> Patient:
        """Return what is looked at."""
        return await admitted(
            self.settings(*argv), environ or {}, may_write=may_write, buckets=buckets
        )

    async def look(self, look: Look, patient: Patient) -> Found:
        """Look at one subject."""
        findings: list[Finding] = []
        await look(patient, findings.append)
        return Found(tuple(findings))

    def certs(self, name: str, **files: str) -> Path:
        """Put a credential down: files of one directory."""
        place = self.root / "certs" / name
        place.mkdir(parents=True, exist_ok=True)
        (self.root / "certs").chmod(0o700)
        for file, text in files.items():
            (place / file).write_text(text)
            (place / file).chmod(0o600)
        return place

    def aws(self, endpoint: str, name: str = "lab") -> None:
        """Put keys of AWS down."""
        self.certs(
            name,
            credentials="[default]\naws_access_key_id = AKIATESTTESTTEST0001\n"
            "aws_secret_access_key = aSecretOfFortyCharactersMoreOrLess000000\n"
            f"region = us-west-2\nendpoint_url = {endpoint}\n",
        )


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    """Stand on a machine with nothing on it."""
    return Clinic(tmp_path)
