"""``keys generate``, and ``submit`` with what it made."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from runner.model import Message
from runner.privacy.keyring import Keyring
from runner.privacy.opening import Opening
from runner.privacy.payload import seal, unseal
from runner.privacy.private_key import PrivateKey
from runner.privacy.response_keys import private_key, public_key
from runner.privacy.signing import Signer
from runner.request.reading import Reading
from runner.request.schema import decode
from tests.cli.conftest import Desk
from tests.privacy.sealing import laid_out


def test_a_request_that_submit_seals_is_opened(desk: Desk) -> None:
    """By the key of the same set, and it is the request that was meant."""
    keys = laid_out(desk.root / "keys", "local_default")
    status, out, _ = desk.run(
        "submit",
        *("--public-key-path", str(keys / "client" / "public.pem")),
        *("--signing-key-path", str(keys / "client" / "signing-key")),
        *("--key", "k1", "train.py", "--lr", "0.1"),
    )
    assert (status, out) == (0, "k1\n")
    [message] = desk.messages()
    assert set(message) == {"message"}
    assert set(message["message"]) == {
        *("experiment", "time_added", "experiment_lifetime", "resources_needed"),
        *("payload", "signature", "fingerprint"),
    }
    opening = Opening(
        PrivateKey(keys / "message"), Keyring(keys / "signing", Signer.of_line), "sealed alone"
    )
    sent = Message("id", json.dumps(message).encode(), "local_default")
    opened = anyio.run(opening.open, Reading.of(sent))
    assert decode(opened).experiment.args == ("--lr", "0.1")


def test_keys_are_made_for_all_who_need_some(desk: Desk) -> None:
    """Nobody else reads them, and the output says what to do with which."""
    status, out, _ = desk.run("keys", "generate", "--queue", "rmq_lab", str(desk.root / "new"))
    assert status == 0
    assert out.splitlines() == [
        f"--encrypt-dir {desk.root}/new/message",
        f"--request-signatures-dir {desk.root}/new/signing",
        f"public_key_path: {desk.root}/new/client/public.pem",
        f"signing_key_path: {desk.root}/new/client/signing-key",
    ]
    files = [path for path in (desk.root / "new").rglob("*") if path.is_file()]
    assert len(files) == 6
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert (desk.root / "new").stat().st_mode & 0o777 == 0o700
    assert PrivateKey(desk.root / "new" / "message").get().key_size == 4096


def test_keys_for_reports_are_a_pair(desk: Desk) -> None:
    """Beside those for requests: the runner's half seals, the reader's opens."""
    laid_out(desk.root / "new", "rmq_lab")
    status, out, _ = desk.run("keys", "responses", "--queue", "rmq_lab", str(desk.root / "new"))
    assert status == 0
    assert out.splitlines() == [
        f"--response-signatures-dir {desk.root}/new/response",
        f"--private-key {desk.root}/new/client/response-key",
    ]
    ring = Keyring(desk.root / "new" / "response", public_key)
    public = ring.find("rmq_lab_7_response")
    assert public is not None
    private = private_key(desk.root / "new" / "client" / "response-key", None)
    assert unseal(seal(b"report", public), private) == b"report"
    assert private.key_size == 4096
    again, _, err = desk.run("keys", "responses", "--queue", "rmq_lab", str(desk.root / "new"))
    assert (again, "is there already" in err) == (2, True)


def test_keys_are_never_overwritten(desk: Desk) -> None:
    """What is sealed for the old ones would be lost."""
    keys = laid_out(desk.root / "keys", "local_default")
    status, _, err = desk.run("keys", "generate", "--queue", "local_default", str(keys))
    assert status == 2
    assert "is there already" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--public-key-path", "p"], "--signing-key-path is missing"),
        (["--signing-key-path", "p"], "--public-key-path is missing"),
        (["--public-key-path", "p", "--signing-key-path", "p"], "p is no readable public key"),
    ],
)
def test_keys_that_cannot_be_used_are_named(desk: Desk, words: list[str], said: str) -> None:
    """Before anything is packed or queued."""
    status, _, err = desk.run("submit", *words, "train.py")
    assert status == 2
    assert said in err
    assert not desk.queue.exists() or desk.messages() == []


def test_keys_of_kinds_that_nobody_knows_are_named(desk: Desk) -> None:
    """Those of a security key, say: no traceback, whichever of the two it is."""
    keys = laid_out(desk.root / "keys", "local_default") / "client"
    good = {"--public-key-path": keys / "public.pem", "--signing-key-path": keys / "signing-key"}
    odd = {"PUBLIC KEY": "MAswBQYDKgMEAwIAAA==", "PRIVATE KEY": "MAwCAQAwBQYDKgMEBAA="}
    for option, (kind, text) in zip(good, odd.items(), strict=True):
        path = desk.root / "odd"
        path.write_text(f"-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
        given = {**good, option: path}
        words = [str(word) for pair in given.items() for word in pair]
        status, _, err = desk.run("submit", *words, "train.py")
        assert status == 2
        assert f"{path} is no " in err
        assert "Unknown key type: 1.2.3.4" in err


def test_a_private_key_with_a_passphrase_is_refused(desk: Desk) -> None:
    """The one that opens requests is not the one that signs them."""
    keys = laid_out(desk.root / "keys", "local_default")
    status, _, err = desk.run(
        "submit",
        *("--public-key-path", str(keys / "client" / "public.pem")),
        *("--signing-key-path", str(keys / "message" / "encryption" / "ssh-privatekey")),
        "train.py",
    )
    assert status == 2
    assert "without a passphrase" in err


def test_a_name_of_a_queue_is_no_path(desk: Desk) -> None:
    """It becomes the name of a file."""
    place = Path(desk.root, "new")
    status, _, err = desk.run("keys", "generate", "--queue", "../x", str(place))
    assert (status, place.exists()) == (2, False)
    assert "--queue '../x'" in err
