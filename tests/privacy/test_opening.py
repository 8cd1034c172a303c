"""What a daemon with keys does with each kind of message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runner.errors import BadField, RequestError, Unavailable, Unsupported
from runner.model import Message
from runner.privacy import making
from runner.privacy.envelope import envelope
from runner.privacy.keyring import Keyring
from runner.privacy.opening import Opening
from runner.privacy.private_key import PrivateKey
from runner.privacy.signing import Signer
from runner.request.reading import Reading
from tests.privacy.sealing import laid_out
from tests.request.sample import sample as request

pytestmark = pytest.mark.anyio


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a set of keys for the queue ``local_test``."""
    return laid_out(tmp_path)


def _opening(place: Path, no_clear_text: str = "no") -> Opening:
    signers = Keyring(place / making.SIGNING, Signer.of_line)
    return Opening(PrivateKey(place / making.MESSAGE), signers, no_clear_text)


def _sealed(place: Path, **changes: object) -> dict[str, Any]:
    client = place / making.CLIENT
    sealing = making.sealing_key(client / making.SEALING_KEY)
    signing = making.signing_key(client / making.SIGNING_KEY)
    found = envelope(request(), sealing, signing)
    found["message"].update(changes)
    return found


def _message(document: Mapping[str, Any] | bytes, queue: str = "local_test") -> Reading:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Reading.of(Message("id", body, queue))


async def test_a_sealed_request_is_opened(place: Path) -> None:
    """Its bytes are those of the request in clear; everything else stays as it was."""
    message = _message(_sealed(place))
    opened = await _opening(place).open(message)
    assert json.loads(opened.message.body) == opened.document == request()
    assert (message.is_sealed, opened.is_sealed) == (True, False)
    sent, read = message.message, opened.message
    assert (read.id, read.queue) == (sent.id, sent.queue)


async def test_another_fingerprint_is_no_reason(place: Path) -> None:
    """The signature decides, as in the original."""
    document = _sealed(place, fingerprint="SHA256:another")
    assert json.loads((await _opening(place).open(_message(document))).message.body) == request()


@pytest.mark.parametrize("name", ["signature", "fingerprint"])
async def test_what_an_envelope_lacks_is_named(place: Path, name: str) -> None:
    """A seal alone says nothing of who wrote it."""
    with pytest.raises(BadField, match=f"message.{name} is None"):
        await _opening(place).open(_message(_sealed(place, **{name: None})))


async def test_a_changed_payload_is_refused(place: Path) -> None:
    """Before anything of it is opened."""
    sealed = _sealed(place)
    other = _sealed(place)["message"]["payload"]
    sealed["message"]["payload"] = other
    with pytest.raises(RequestError, match=r"message\.signature is not that of"):
        await _opening(place).open(_message(sealed))


async def test_another_queue_needs_a_key_of_its_own(place: Path) -> None:
    """It waits: the operator may bring the key, and is told which."""
    with pytest.raises(Unavailable, match="no key for the queue rmq_other"):
        await _opening(place).open(_message(_sealed(place), "rmq_other"))


async def test_a_request_waits_for_a_key_that_is_missing(place: Path) -> None:
    """And is opened once the key is there."""
    opening = _opening(place)
    message = _message(_sealed(place))
    private = place / making.MESSAGE
    private.rename(place / "away")
    with pytest.raises(Unavailable, match="--encrypt-dir"):
        await opening.open(message)
    (place / "away").rename(private)
    assert json.loads((await opening.open(message)).message.body) == request()


async def test_without_any_key_sealed_requests_wait() -> None:
    """For a runner that has one, or an operator who brings it."""
    document = {"message": {"payload": "a,b"}}
    with pytest.raises(Unavailable, match="--encrypt-dir and --request-signatures-dir"):
        await Opening().open(_message(document))


async def test_clear_text_is_believed_where_it_may_be(place: Path) -> None:
    """Nothing is changed about it."""
    message = _message(request())
    assert await Opening().open(message) is message
    assert await _opening(place, "").open(message) is message


async def test_clear_text_is_refused_where_keys_are(place: Path) -> None:
    """A request is; what is none at all is left to the decoder, and never acknowledged."""
    opening = _opening(place, "no clear text")
    with pytest.raises(Unsupported, match="no clear text"):
        await opening.open(_message(request()))
    for foreign in (b"", b"nonsense", b"[]", b"{}", b'{"order": 7}'):
        assert (await opening.open(_message(foreign))).message.body == foreign


def test_the_mode_is_said(place: Path) -> None:
    """For the log and for ``status``."""
    assert Opening().mode == "clear text"
    assert _opening(place).mode == "sealed and signed"
    assert _opening(place, "").mode == "sealed and signed, and clear text"
    assert Opening(no_clear_text="no").mode.startswith("none")
