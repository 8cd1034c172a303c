"""Google's key files: which are taken, and what is said of the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.queues.credential import GoogleCredential
from runner.queues.credentials import google_key
from runner.queues.credentials.finding import BadCredential
from tests.queues.credentials.keys import google


def test_a_key_gives_the_credential_of_its_project() -> None:
    """Scope is the project, the key arrives whole, and its file is known to stores."""
    found = google_key.read("/certs/a.json", google("alpha-1"), "a.json")
    credential = found.credential
    assert isinstance(credential, GoogleCredential)
    assert (credential.broker, credential.project, credential.origin) == (
        "pubsub",
        "alpha-1",
        "a.json",
    )
    assert json.loads(credential.key.reveal())["project_id"] == "alpha-1"
    assert credential.key_file == Path("/certs/a.json")
    assert {one.reveal() for one in found.secrets} >= {"id-of-first"}
    assert "first" not in repr(credential)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"project_id": ""}, "lacks project_id"),
        ({"project_id": "a/b"}, "'a/b', which names no project"),
        ({"project_id": ["x"]}, "names no project"),
        ({"type": "external_account"}, "'external_account'"),
        ({"type": None}, "has the type"),
        ({"client_email": ""}, "lacks client_email"),
        ({"private_key": "shh-very-secret"}, "no PEM block"),
        ({"private_key": 7}, "no PEM block"),
    ],
)
def test_what_is_wrong_with_a_key_is_said_by_field(change: dict[str, object], words: str) -> None:
    """The sentence names the field and shows no secret."""
    text = json.dumps({**json.loads(google()), **change})
    with pytest.raises(BadCredential) as caught:
        google_key.read("/a.json", text, "a.json")
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", google()[:-20], "[1]", "null", '"text"', "[" * 100_000, "\0", "{} {}"]
)
def test_what_is_no_object_is_refused(text: str) -> None:
    """Half of a file, another kind of JSON and none at all are bad credentials, never a crash."""
    with pytest.raises(BadCredential) as caught:
        google_key.read("/a.json", text, "a.json")
    assert "PRIVATE" not in str(caught.value)


def test_an_emulator_needs_a_project_alone() -> None:
    """Whoever speaks to an emulator has no key."""
    found = google_key.read("/a.json", '{"project_id": "p-1"}', "a", emulator="localhost:1")
    assert isinstance(found.credential, GoogleCredential)
    assert (found.credential.scope, found.credential.emulator) == ("p-1", "localhost:1")


def test_the_fingerprint_follows_all_that_is_in_it() -> None:
    """Another key, another place: another fingerprint; the same text gives the same one."""
    first = google_key.read("/a.json", google(), "a.json").credential.fingerprint
    assert google_key.read("/a.json", google(), "a.json").credential.fingerprint == first
    others = [
        google_key.read("/a.json", google(key="second"), "a.json"),
        google_key.read("/b.json", google(), "a.json"),
        google_key.read("/a.json", google(), "a.json", emulator="h:1"),
    ]
    assert len({first, *(one.credential.fingerprint for one in others)}) == 4
