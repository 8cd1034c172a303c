"""What of a variable, an address or a document is secret, judged by names."""

from __future__ import annotations

import itertools
import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from typing import Any

from runner.redaction.looks import SHORTEST

_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
#: A name with such a word, also at the end of a longer one, is that of a secret.
_SECRET = (
    *("secret", "secrets", "token", "password", "passwd", "passphrase", "passcode", "credential"),
    *("credentials", "apikey", "authorization", "bearer", "jwt", "cookie"),
)
#: These are words of their own: ``COMPASS`` and ``PWD`` hide nothing.
_WHOLE_WORDS = frozenset({"pass", "private", "sas"})
#: A key that is one of these opens something.
_OF_KEYS = re.compile(
    r"access|account|api|app|auth|deploy|encryption|license|master|private|secret|service|"
    r"shared|signing|ssh|storage|webhook"
)
#: What such a name tells is where a secret lies, or how much of it there is.
_NO_SECRET = re.compile(
    r"budget|count|dir|directory|enabled|endpoint|expires|expiry|file|host|kind|len|length|"
    r"limit|max|min|mode|name|path|port|region|size|timeout|ttl|type|uri|url|user|username"
)
#: Values that say nothing, or are words of our own: no variable takes those out of every line.
_WORDS = re.compile(
    r"default|disabled|enabled|optional|required|unknown|unlimited|accepted|adopted|artifact|"
    r"artifacts|attempt|buried|cancelled|claimed|completed|component|credential|critical|daemon|"
    r"deferred|drained|environment|exception|experiment|failed|fetching|finished|internal|message|"
    r"output|password|preparing|project|queues|refused|released|requirements|running|runner|"
    r"running|secret|settled|sources|started|starting|status|stopped|studio-runner|timestamp|"
    r"trouble|uploading|waiting|warning|workspace"
)
#: Plain numbers below so many digits are settings.
_DIGITS = 8
_NUMBER = re.compile(r"(?i)[+-]?[0-9._,]+(?:e[+-]?[0-9]+)?")
#: ``GOOGLE_APPLICATION_CREDENTIALS`` is a file, where a key of a cloud may look like one.
_PATH = re.compile(r"[~.]{0,2}(?:/[\w.-]+)+/?")
_STRONG = re.compile(r"(?i)secret|token|pass")
#: A host with its port, or without one.
_HOST = re.compile(r"[^/?#@:]*(?::[0-9]*)?(?:[/?#]|$)|\[[^]]*\]")
#: A user of an address who has no password and so long a name is a token.
_TOKEN = 16
_SIGNED = re.compile(r"(?i)signature|credential|token|^sig$|^key$|secret|password")


def is_secret_name(name: str) -> bool:
    """Tell whether a variable of this name holds a secret: ``HF_TOKEN``, ``apiKey``, ``DB_PASS``.

    ``TOKENIZER``, ``MAX_TOKENS``, ``SECRET_FILE`` and ``SORT_KEY`` do not.
    """
    words = [word.lower() for word in _PART.findall(name)]
    if not words or _NO_SECRET.fullmatch(words[-1]):
        return False
    if any(word.endswith(_SECRET) or word in _WHOLE_WORDS for word in words):
        return True
    pairs = itertools.pairwise(words)
    is_key = any(second in {"key", "keys"} and _OF_KEYS.fullmatch(first) for first, second in pairs)
    return (is_key and words[-1] != "id") or (words[-1] == "pwd" and len(words) > 1)


def of_variable(name: str, value: str) -> Iterator[str]:
    """Yield what must not be shown of a variable, its value as a whole or parts of it."""
    yield from of_address(value)
    is_place = bool(_PATH.fullmatch(value.strip())) and not _STRONG.search(name)
    if is_secret_name(name) and _is_worth_it(value) and not is_place:
        yield value
        yield from of_document(value)


def of_variables(variables: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield what must not be shown of several."""
    for name, value in variables:
        yield from of_variable(name, value)


def of_address(address: str) -> Iterator[str]:
    """Yield the password and the signature of an address, as they are written and as meant."""
    if "://" not in address:
        return
    rest = address.partition("://")[2]
    user, at, _ = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
    users = [user] if at else []
    if not _HOST.match(rest):  # it may be a password that holds what it should not
        users.append(rest.rpartition("@")[0])
    for name, _, password in (user.partition(":") for user in users):
        if password or len(name) >= _TOKEN:
            yield from _twice(password or name)
    query = rest.partition("?")[2].partition("#")[0]
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if _SIGNED.search(name):
            yield from _twice(value)


def of_document(text: str) -> Iterator[str]:
    """Yield the secret members of a JSON object, however deep; of other texts nothing."""
    if not text.lstrip().startswith("{"):
        return
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return
    yield from of_data(found)


def of_data(value: Any) -> Iterator[str]:
    """Yield the secret members of plain data, however deep."""
    if isinstance(value, list):
        for one in value:
            yield from of_data(one)
    if isinstance(value, dict):
        for name, one in value.items():
            if isinstance(one, str):
                yield from of_variable(name, one)
            else:
                yield from of_data(one)


def _twice(text: str) -> Iterator[str]:
    yield text
    yield urllib.parse.unquote(text)


def _is_worth_it(value: str) -> bool:
    plain = value.strip()
    if len(plain) < SHORTEST or _WORDS.fullmatch(plain.lower()):
        return False
    return not (_NUMBER.fullmatch(plain) and len(plain) < _DIGITS)
