"""Signatures in both forms, and fingerprints as OpenSSH shows them."""

from __future__ import annotations

import base64
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from runner.privacy.signing import BadSignature, Signer, sign

#: Always the same ones: names of tests are made of what they sign.
_KEY, _OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
_SIGNER = Signer(_KEY.public_key())
_KEYGEN = shutil.which("ssh-keygen") or ""


def _blob(kind: bytes, signature: bytes) -> str:
    """Return what Paramiko's ``sign_ssh_data`` does."""
    parts = (struct.pack(">I", len(part)) + part for part in (kind, signature))
    return base64.b64encode(b"".join(parts)).decode()


def test_a_bare_signature_is_good() -> None:
    """As the StudioML client writes it."""
    _SIGNER.check("a,b", sign("a,b", _KEY))


def test_a_signature_in_the_wire_form_is_good() -> None:
    """As other clients write it."""
    _SIGNER.check("a,b", _blob(b"ssh-ed25519", _KEY.sign(b"a,b")))


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        ("", "has 0 bytes"),
        ("?", "not base64"),
        ("\ud800", "not base64"),
        (base64.b64encode(bytes(63)).decode(), "has 63 bytes"),
        (base64.b64encode(bytes(64)).decode(), "not that of SHA256:"),
        (_blob(b"ssh-rsa", bytes(64)), "no Ed25519 signature"),
        (_blob(b"ssh-ed25519", bytes(63)), "no Ed25519 signature"),
        (sign("a,c", _KEY), "not that of SHA256:"),
        (sign("a,b", _OTHER), "not that of SHA256:"),
    ],
)
def test_all_others_are_refused(signature: str, said: str) -> None:
    """With a sentence that names the field."""
    with pytest.raises(BadSignature, match=f"message.signature.*{said}"):
        _SIGNER.check("a,b", signature)


@given(st.text(), st.binary(max_size=200))
def test_nothing_but_the_signature_passes(payload: str, noise: bytes) -> None:
    """Whatever bytes somebody sends."""
    with pytest.raises(BadSignature):
        _SIGNER.check(payload, base64.b64encode(noise).decode())


def test_a_line_is_read_as_it_was_written() -> None:
    """A comment behind the key is somebody's name."""
    assert Signer.of_line(f"{_SIGNER.line} ann@desk").fingerprint == _SIGNER.fingerprint


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-rsa AAAAB3NzaC1yc2E=",
        "ssh-ed25519 AAAA?",
        "ssh-ed25519 " + _blob(b"ssh-rsa", bytes(32)),
        "ssh-ed25519 " + _blob(b"ssh-ed25519", bytes(31)),
        'command="x" ssh-ed25519 AAAA',
    ],
)
def test_other_lines_are_refused(line: str) -> None:
    """Each with a ValueError, which says what is wrong."""
    with pytest.raises(ValueError, match=r"key|cut short|strings"):
        Signer.of_line(line)


@pytest.mark.skipif(not _KEYGEN, reason="ssh-keygen is not installed")
def test_openssh_agrees(tmp_path: Path) -> None:
    """On what a fingerprint is, and with its own key files."""
    key = tmp_path / "key"
    subprocess.run([_KEYGEN, "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    shown = subprocess.run(
        [_KEYGEN, "-l", "-E", "sha256", "-f", str(key)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert Signer.of_line((tmp_path / "key.pub").read_text()).fingerprint == shown.split()[1]
