"""As whom Google is asked: never as the machine's own identity unless the operator allows it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import google.auth
import google.auth.exceptions
import google.oauth2.credentials
import google.oauth2.service_account
from google.auth.credentials import AnonymousCredentials
from google.auth.credentials import Credentials as GoogleCredentials

from runner.model import Credentials
from runner.stores.base import AccessDenied, Account, StoreOptions

_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)


@dataclass(frozen=True, slots=True)
class Identity:
    """Credentials, and how a person calls them."""

    credentials: GoogleCredentials
    who: str
    #: What the operator or the sender can do when the store denies something.
    remedy: str
    #: A token that is refused may be replaced by a new one.
    renews: bool = True

    @property
    def is_nobody(self) -> bool:
        """No token is sent."""
        return isinstance(self.credentials, AnonymousCredentials)


NOBODY = Identity(
    AnonymousCredentials(),  # type: ignore[no-untyped-call]
    "nobody in particular",
    "make it public, or name a key file with --google-store-credentials",
    renews=False,
)


def identity_of(account: Account, options: StoreOptions) -> Identity:
    """Return the account's token or key; the machine's identity only where it is allowed.

    Raises AccessDenied for a key file or credentials that cannot be used.
    """
    if account.credentials is not None:
        return _of_message(account.credentials)
    if account.key_file is not None:
        return _of_file(account.key_file)
    if options.allow_own_credentials:
        return _of_machine()
    return NOBODY


def is_nobody(account: Account, options: StoreOptions) -> bool:
    """Tell whether the account means no identity at all."""
    if account.credentials is not None:
        return not (account.credentials.access_key or account.credentials.session_token)
    return account.key_file is None and not options.allow_own_credentials


def _of_message(given: Credentials) -> Identity:
    if given.access_key:
        raise AccessDenied(
            "gs:// artifacts take no access keys or passwords: leave their credentials out, and "
            "let the operator name a key file with --google-store-credentials"
        )
    if not given.session_token:
        return NOBODY
    token = google.oauth2.credentials.Credentials(  # type: ignore[no-untyped-call]
        token=given.session_token.reveal()
    )
    return Identity(
        token, "the token of the artifact", "submit again with a fresh token", renews=False
    )


class _FromFile(GoogleCredentials):
    """The key that a file holds when a token is needed: a run outlives the rotation of a key."""

    def __init__(self, path: Path) -> None:
        """Raise AccessDenied where there is no key that can be used."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._path = path
        self._key, self.mail = _read_key(path)
        self._universe_domain = self._key.universe_domain

    def refresh(self, request: Any) -> None:
        """Get a token for the key of now; for the last one that could be read, where it cannot."""
        with contextlib.suppress(AccessDenied):  # half a file, a mount that is being swapped
            self._key, self.mail = _read_key(self._path)
        self._key.refresh(request)  # type: ignore[no-untyped-call]
        self.token, self.expiry = self._key.token, self._key.expiry


def _of_file(path: Path) -> Identity:
    made = _FromFile(path)
    return Identity(
        made,
        f"{made.mail or 'the user'} (key file {path})",
        "give the account the role Storage Object User on the bucket",
    )


def _read_key(path: Path) -> tuple[GoogleCredentials, str]:
    """Read a service account's key, or what ``gcloud auth application-default login`` wrote.

    Returns it with the account's mail address, empty where it has none.
    """
    try:
        content = json.loads(path.read_bytes())
        kind = content["type"]
    except OSError as error:
        raise AccessDenied(
            f"the Google key file {path} cannot be read: {error.strerror}"
        ) from error
    except (ValueError, KeyError, TypeError):  # the cause would quote the key
        raise AccessDenied(f"{path} is no Google key file: it is not the JSON of one") from None
    make = _FORMS.get(kind)
    if make is None:
        raise AccessDenied(
            f"the Google key file {path} is of the type {str(kind)[:40]!r}, known: "
            f"{', '.join(_FORMS)}; other identities work as the machine's own"
        )
    try:
        return make(content), str(content.get("client_email", ""))
    except (ValueError, KeyError, TypeError, google.auth.exceptions.GoogleAuthError):
        raise AccessDenied(
            f"the Google key file {path} is damaged: download the key anew"
        ) from None


def _service_account(content: dict[str, Any]) -> GoogleCredentials:
    made: GoogleCredentials = google.oauth2.service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        content, scopes=_SCOPES
    )
    return made


def _user(content: dict[str, Any]) -> GoogleCredentials:
    made: GoogleCredentials = google.oauth2.credentials.Credentials.from_authorized_user_info(  # type: ignore[no-untyped-call]
        content, scopes=_SCOPES
    )
    return made


_FORMS: dict[str, Callable[[dict[str, Any]], GoogleCredentials]] = {
    "service_account": _service_account,
    "authorized_user": _user,
}


def _of_machine() -> Identity:
    """Search as Google's own tools do: environment, gcloud, workload identity, metadata server."""
    try:
        credentials, _ = google.auth.default(scopes=_SCOPES)
    except google.auth.exceptions.DefaultCredentialsError:
        return replace(NOBODY, who=f"{NOBODY.who}: this machine has no Google identity")
    return Identity(
        credentials,
        "the machine's own identity",
        "give it the role Storage Object User on the bucket",
    )
