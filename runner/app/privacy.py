"""Which messages are believed: the keys that the settings name, and whether clear text is."""

from __future__ import annotations

from pathlib import Path

from runner import log
from runner.errors import Misconfigured, RunnerError
from runner.privacy.opening import Opening
from runner.settings import Settings

_log = log.get_logger(__name__)

#: In the state directory, once a key was configured: clear text is not believed again by oversight.
KEYS_SEEN = "keys-seen"
_REOPENED = "or let the operator accept it with --clear-text-messages"


def opening(settings: Settings, state: Path) -> Opening:
    """Return what opens messages, say which ones it believes, and remember that keys were used.

    Raises Misconfigured. Keys that are not there yet, or cannot be read, are only complained of:
    sealed requests wait for them.
    """
    found = opened(settings, is_seen=_is_seen(settings, state))
    if found.private is not None:
        try:
            found.private.get()
        except RunnerError as error:
            _log.warning("sealed requests wait for the key that opens them", trouble=str(error))
        if found.signers is not None and not found.signers.names:
            _log.warning(
                "sealed requests wait: nobody is known who may sign any",
                directory=str(found.signers.directory),
            )
    _log.info("messages that are believed", mode=found.mode)
    return found


def opened(settings: Settings, *, is_seen: bool) -> Opening:
    """Return what opens messages by these settings. Raises Misconfigured."""
    refused = _refused(settings, is_seen=is_seen)
    private, signatures = settings.encrypt_dir, settings.request_signatures_dir
    if private is None and signatures is None:
        return Opening(no_clear_text=refused)
    if private is None or signatures is None:
        given, missing = ("--encrypt-dir", "--request-signatures-dir")[:: 1 if private else -1]
        raise Misconfigured(
            f"{given} is given without {missing}: sealed requests are signed, so name the "
            "directories of both keys (studio-runner keys generate makes them)"
        )
    # Both import cryptography, which takes a while.
    from runner.privacy.keyring import Keyring  # noqa: PLC0415
    from runner.privacy.private_key import PrivateKey  # noqa: PLC0415
    from runner.privacy.signing import Signer  # noqa: PLC0415

    return Opening(PrivateKey(private), Keyring(signatures, Signer.of_line), refused)


def _refused(settings: Settings, *, is_seen: bool) -> str:
    """Return why clear text is not believed; empty where it is (design section 6)."""
    if settings.clear_text_messages:
        return ""
    if settings.encrypt_dir or settings.request_signatures_dir:
        return (
            "the request is in clear text, and this runner has keys for sealed ones: seal it with "
            f"the runner's public key, {_REOPENED}"
        )
    if is_seen:
        return (
            "the request is in clear text, and this runner had keys for sealed ones before: seal "
            f"it once the operator has named them again, {_REOPENED}"
        )
    return ""


def _is_seen(settings: Settings, state: Path) -> bool:
    mark = state / KEYS_SEEN
    if settings.encrypt_dir or settings.request_signatures_dir:
        mark.touch(mode=0o600)
    return mark.exists()
