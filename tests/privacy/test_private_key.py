"""The three files of a runner's key, and what is said of them when they do not fit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from runner.privacy.making import MESSAGE
from runner.privacy.private_key import PASSPHRASE, PRIVATE, PUBLIC, NoKey, PrivateKey
from tests.privacy.sealing import laid_out

_KEYGEN = shutil.which("ssh-keygen") or ""


def _key(place: Path) -> PrivateKey:
    return PrivateKey(laid_out(place) / MESSAGE)


def test_what_was_made_is_read(tmp_path: Path) -> None:
    """And read once, as long as nothing changes."""
    key = _key(tmp_path)
    found = key.get()
    assert isinstance(found, RSAPrivateKey)
    assert found.key_size == 4096
    assert key.get() is found


def test_a_line_end_behind_the_passphrase_is_forgiven(tmp_path: Path) -> None:
    """Editors leave one."""
    key = _key(tmp_path)
    file = key.directory / PASSPHRASE
    file.write_bytes(file.read_bytes() + b"\n")
    assert key.get().key_size == 4096


@pytest.mark.parametrize("name", [PUBLIC, PRIVATE, PASSPHRASE])
def test_what_is_missing_is_named(tmp_path: Path, name: Path) -> None:
    """The file, and the option; once it is back the key is there again."""
    key = _key(tmp_path)
    kept = (key.directory / name).read_bytes()
    (key.directory / name).write_bytes(b"")
    with pytest.raises(NoKey, match=f"--encrypt-dir .*{name}$"):
        key.get()
    (key.directory / name).write_bytes(kept)
    assert key.get().key_size == 4096


def test_a_key_that_is_taken_away_is_gone(tmp_path: Path) -> None:
    """Nothing is kept in memory against the operator's will."""
    key = _key(tmp_path)
    key.get()
    shutil.rmtree(key.directory)
    with pytest.raises(NoKey, match=str(PRIVATE)):
        key.get()


def test_other_forms_are_refused_with_the_remedy(tmp_path: Path) -> None:
    """Keys without a passphrase, keys in another form, and the wrong passphrase."""
    key = _key(tmp_path)
    found = key.get()
    path = key.directory / PRIVATE
    for form in (PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8):
        path.write_bytes(found.private_bytes(Encoding.PEM, form, NoEncryption()))
        with pytest.raises(NoKey, match="ssh-keygen -p -m PEM"):
            key.get()
    laid_out(tmp_path)
    (key.directory / PASSPHRASE).write_text("another")
    with pytest.raises(NoKey, match="the passphrase"):
        key.get()


@pytest.mark.skipif(not _KEYGEN, reason="ssh-keygen is not installed")
def test_openssh_reads_the_key_and_writes_what_we_read(tmp_path: Path) -> None:
    """Operators make theirs by the recipe of the original's documentation."""
    key = _key(tmp_path)
    path, passphrase = key.directory / PRIVATE, (key.directory / PASSPHRASE).read_text()
    path.chmod(0o600)
    again = [_KEYGEN, "-p", "-m", "PEM", "-f", str(path)]
    subprocess.run(
        [*again, "-P", passphrase, "-N", "second one"], check=True, stdout=subprocess.DEVNULL
    )
    (key.directory / PASSPHRASE).write_text("second one")
    assert key.get().key_size == 4096
