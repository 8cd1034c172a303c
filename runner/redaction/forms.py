"""Secrets that are recognised by their form: keys, tokens, passwords in addresses and by name.

Every pattern reads each byte a bounded number of times, whatever stands there: experiments choose
what is searched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

#: A private key is masked this far after its first line; longer than any that is in use.
LONGEST_KEY = 16_384
#: No other secret that is recognised by its form is longer; the rest of a longer one would show.
_LONGEST_LINE = 8_192
#: No match is longer, with what belongs to it on both sides.
LONGEST = LONGEST_KEY + 300

_LINE = b"%d" % _LONGEST_LINE


@dataclass(frozen=True, slots=True)
class Form:
    """A secret recognised by its form; its one group is what is masked."""

    name: str
    #: One of these is in every text that holds the form: a search for them is many times faster.
    triggers: tuple[bytes, ...]
    #: Matches no newline, except for the one form that is found by its first line.
    pattern: re.Pattern[bytes]

    def spans(self, data: bytes, start: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield begin and end of each match from ``start`` on, and those of the secret in it."""
        if any(trigger in data for trigger in self.triggers):
            for found in self.pattern.finditer(data, start):
                yield (*found.span(), *found.span(1))


def _form(name: str, triggers: tuple[bytes, ...], *pattern: bytes) -> Form:
    return Form(name, triggers, re.compile(b"".join(pattern)))


#: Its text is what follows the first line and could be of a key: the last line may be missing.
KEY = _form(
    "pem",
    (b"PRIVATE KEY",),
    rb"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----",
    rb"(?:[A-Za-z0-9+/=\s:,.()\\]|-(?!----)){0,%d}+" % LONGEST_KEY,
    rb"(?:-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?)",
)
_NAMES = tuple(
    one.encode()
    for name in (
        *("secret_access_key", "secret_key", "session_token", "security_token", "access_token"),
        *("auth_token", "refresh_token", "private_token", "client_secret", "password", "api_key"),
    )
    for one in dict.fromkeys((name, name.replace("_", ""), name.replace("_", "-")))
)


class Named(Form):
    """A value behind a name like ``password``; the name is found in small letters, which is fast.

    None of the names is the end of another one.
    """

    __slots__ = ()

    def spans(self, data: bytes, start: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield begin and end of each match from ``start`` on, and those of the value in it."""
        small, done = data.lower(), start
        ends = {end for word in self.triggers for end in _ends(small, word, start)}
        for end in sorted(ends):
            if small.endswith(_NAMES, done, end) and (found := self.pattern.match(data, end)):
                name = next(one for one in _NAMES if small.endswith(one, done, end))
                yield (end - len(name), done := found.end(), *found.span(1))


def _ends(data: bytes, word: bytes, start: int) -> Iterator[int]:
    """Yield where the word ends, if anything but a letter follows."""
    place = data.find(word, start)
    while place >= 0:
        place += len(word)
        if data[place : place + 1] in _BEFORE_VALUES:
            yield place
        place = data.find(word, place)


#: What may follow a name.
_BEFORE_VALUES = frozenset(b"%c" % one for one in b"=: \t\"'\\")
_SIGNED = (
    rb"x-(?:amz|goog)-(?:signature|security-token|credential)|signature|sig|awsaccesskeyid|"
    rb"googleaccessid|access_token|token"
)
#: The rest of a character of several bytes, where the longest match ends within one.
_WHOLE = rb"[\x80-\xbf]{0,3}+"

FORMS = (
    KEY,
    _form("aws", (b"AKIA", b"ASIA"), rb"(?<![A-Za-z0-9])(A[KS]IA[A-Z0-9]{16})(?![A-Za-z0-9])"),
    Named(
        "named",
        (b"password", b"token", b"key", b"secret"),
        re.compile(
            rb"[\\\"']{0,2}[ \t]{0,8}[=:][ \t]{0,8}[\\\"']{0,2}"
            # What comes escaped in JSON keeps the backslash of its last quote.
            rb"((?!\*\*\*)(?:[^\s\"',;&}\\]|\\(?![\"'])){6,%s}" % _LINE + _WHOLE + rb")"
        ),
    ),
    _form(
        "url",
        (b"://",),
        rb"://[^\s/:@\"'<>]{0,256}:((?!\*\*\*@)[^\s/\"'<>]{1,%s})@" % _LINE,
    ),
    _form(
        "signed",
        (b"ature=", b"ATURE=", b"oken=", b"OKEN=", b"ential=", b"sig=", b"eyId=", b"essId="),
        rb"[?&](?:amp;)?(?i:" + _SIGNED + rb")=",
        rb"((?!\*\*\*)[^\s&\"'<>\\]{6,%s}" % _LINE + _WHOLE + rb")",
    ),
    _form("slack", (b"hooks.slack.com",), rb"hooks\.slack\.com/([\w/-]{10,256})"),
    _form("xox", (b"xox",), rb"(?<![A-Za-z0-9])(xox[a-z]-[A-Za-z0-9-]{10,512})"),
    _form(
        "github",
        (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_"),
        rb"(?<!\w)((?:gh[a-z]_|github_pat_)\w{20,255})",
    ),
    _form(
        "bearer",
        (b"earer", b"EARER"),
        rb"(?i:bearer)[ \t]{1,4}([A-Za-z0-9._~+/=-]{16,%s})" % _LINE,
    ),
    _form(
        "basic",
        (b"uthorization", b"UTHORIZATION"),
        rb"(?i:authorization[\\\"']{0,2}: ?[\\\"']{0,2}basic) ([A-Za-z0-9+/=]{8,1024})",
    ),
    _form(
        "jwt",
        (b"eyJ",),
        rb"(?<![\w-])(eyJ[\w-]{10,2048}\.eyJ[\w-]{10,4096}\.[\w-]{10,1024})",
    ),
    _form("google", (b"ya29.", b"AIza"), rb"(?<![\w-])(ya29\.[\w.-]{20,2048}|AIza[\w-]{35})"),
)
