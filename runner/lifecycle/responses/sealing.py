"""Which reports may be read by whom: sealed for the owner of a response queue, or in clear text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.lifecycle.responses.outbox import Letter

if TYPE_CHECKING:  # they import cryptography: 40 ms that only who has keys is to pay
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    from runner.privacy.keyring import Keyring


@dataclass(frozen=True, slots=True)
class Sealing:
    """The operator's rule: a key seals; without one it takes ``clear_text``, or nothing is sent.

    What came sealed is told sealed, whatever the operator allows.
    """

    keys: Keyring[RSAPublicKey] | None = None
    clear_text: bool = False

    def sealed(self, mailbox: str, letters: Sequence[Letter]) -> list[bytes | None]:
        """Return what is sent of each; ``None``: nothing may be. Blocks, and computes."""
        form = self._form(mailbox)
        if form is not None:
            return [form(letter.body) for letter in letters]
        return [
            letter.body if self.clear_text and not letter.is_private else None for letter in letters
        ]

    def why_not(self, mailbox: str) -> str:
        """Say for people what is missing for a response queue that gets nothing."""
        place = (
            f"in {self.keys.directory}" if self.keys else "as --response-signatures-dir names none"
        )
        return (
            f"there is no key {place} for {mailbox}: put its owner's public key there, in a file "
            f"called {mailbox} or a beginning of it"
        )

    def _form(self, mailbox: str) -> Callable[[bytes], bytes] | None:
        key = self.keys.find(mailbox) if self.keys else None
        if key is None:
            return None
        from runner.privacy.payload import seal  # noqa: PLC0415 - see above

        return lambda body: seal(body, key).encode("ascii")
