"""The key that opens sealed requests: three files, read anew when one changes (protocol 2.8)."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from runner.errors import Unavailable
from runner.privacy.stamp import Stamp, stamp

PUBLIC = Path("encryption", "ssh-publickey")
PRIVATE = Path("encryption", "ssh-privatekey")
PASSPHRASE = Path("passphrase", "ssh-passphrase")
_KIND = b"-----BEGIN RSA PRIVATE KEY-----"
_LOCKED = b"Proc-Type: 4,ENCRYPTED"
_REMEDY = "rewrite it with: ssh-keygen -p -m PEM -f FILE"


class NoKey(Unavailable):
    """There is no key that could open sealed requests."""


class PrivateKey:
    """The key in one directory; without it sealed requests wait until it is there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._stamp: tuple[Stamp | None, ...] = ()
        self._key: RSAPrivateKey | None = None

    def get(self) -> RSAPrivateKey:
        """Return the key. Raises NoKey with what is missing or wrong. Blocks.

        A key that became unreadable is not kept: the operator may have taken it away.
        """
        files = [self.directory / name for name in (PUBLIC, PRIVATE, PASSPHRASE)]
        now = tuple(stamp(path) for path in files)
        if self._key is None or now != self._stamp:
            self._key = None
            self._key, self._stamp = self._read(*files), now
        return self._key

    def _read(self, public: Path, private: Path, passphrase: Path) -> RSAPrivateKey:
        found = {path: _content(path) for path in (public, private, passphrase)}
        missing = [str(path) for path, content in found.items() if not content]
        if missing:
            raise NoKey(
                f"--encrypt-dir {self.directory}: not there, empty or not readable: "
                f"{', '.join(missing)}"
            )
        pem = found[private]
        if not pem.lstrip().startswith(_KIND):
            raise NoKey(f"{private} is no PEM of the kind 'RSA PRIVATE KEY': {_REMEDY}")
        if _LOCKED not in pem:
            raise NoKey(f"{private} has no passphrase: give it one; {_REMEDY}")
        return self._opened(private, pem, found[passphrase])

    def _opened(self, private: Path, pem: bytes, passphrase: bytes) -> RSAPrivateKey:
        # Verbatim, as the original does; and as an editor leaves it, with a line's end behind it.
        for one in dict.fromkeys((passphrase, passphrase.rstrip(b"\r\n"))):
            try:
                key = load_pem_private_key(pem, one)
            except (ValueError, TypeError, UnsupportedAlgorithm):
                continue
            if isinstance(key, RSAPrivateKey):
                return key
        raise NoKey(f"{private} is damaged, or the passphrase in {PASSPHRASE} does not open it")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
