"""Opens what was sealed, if its signature is good, and decides whether clear text is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runner import blocking, log
from runner.errors import BadField, Unavailable, Unsupported
from runner.model import Message
from runner.request.document import has_member, member
from runner.request.reading import Reading

if TYPE_CHECKING:  # they import cryptography: 40 ms that only who has keys is to pay
    from runner.privacy.keyring import Keyring
    from runner.privacy.private_key import PrivateKey
    from runner.privacy.signing import Signer

_log = log.get_logger(__name__)


class NoSigner(Unavailable):
    """Nobody is known who may sign requests for the queue."""


@dataclass(frozen=True)
class Opening:
    """What one daemon does with messages before they are decoded.

    A request that it cannot judge for want of a key waits: the operator may bring the key. One with
    a bad signature or seal is refused for good.
    """

    private: PrivateKey | None = None
    signers: Keyring[Signer] | None = None
    #: Why clear text is refused, for its sender; empty: it is believed.
    no_clear_text: str = ""
    #: Keys are asked for by one thread at a time.
    _limit: blocking.Limit = field(default_factory=lambda: blocking.Limit(1))

    @property
    def mode(self) -> str:
        """Say for people which messages are believed."""
        if self.private is None and not self.no_clear_text:
            return "clear text"
        if self.private is None:
            return "none: clear text is refused, and there is no --encrypt-dir"
        return "sealed and signed" + ("" if self.no_clear_text else ", and clear text")

    async def open(self, reading: Reading) -> Reading:
        """Return what the message says with the request in clear.

        Raises Unavailable while a key is missing; BadSignature, BadSeal, BadField or Unsupported
        for what will never be run as it is.
        """
        message, document = reading.message, reading.document
        if not reading.is_sealed:
            if self.no_clear_text and has_member(document, "experiment"):
                raise Unsupported(self.no_clear_text)
            return reading
        envelope = member(document, "message")
        assert isinstance(envelope, dict)  # noqa: S101 - what makes it an envelope
        body = await blocking.call(lambda _: self._unsealed(message, envelope), limit=self._limit)
        return Reading.of(replace(message, body=body))

    def _unsealed(self, message: Message, envelope: Mapping[str, object]) -> bytes:
        if self.private is None or self.signers is None:
            raise Unavailable(
                "the request is sealed, and this runner has no key: it waits for one with "
                "--encrypt-dir and --request-signatures-dir"
            )
        from runner.privacy.payload import unseal  # noqa: PLC0415 - see above

        payload, signature = _text(envelope, "payload"), _text(envelope, "signature")
        fingerprint = _text(envelope, "fingerprint")
        signer = self.signers.find(message.queue)
        if signer is None:
            raise NoSigner(
                f"{self.signers.directory} has no key for the queue {message.queue}: put the "
                f"sender's public key there, in a file called {message.queue} or a beginning of it"
            )
        signer.check(payload, signature)
        if fingerprint != signer.fingerprint:
            _log.warning(
                "a good signature came with the fingerprint of another key",
                queue=message.queue,
                fingerprint=fingerprint,
                expected=signer.fingerprint,
            )
        return unseal(payload, self.private.get())


def _text(envelope: Mapping[str, object], name: str) -> str:
    value = member(envelope, name)
    if not isinstance(value, str) or not value:
        raise BadField(f"message.{name}", value, "a sealed request needs it, as text")
    return value
