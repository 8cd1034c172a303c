"""Which form a file has: told by its name where that is fixed, else by what it says. Pure."""

from __future__ import annotations

import enum
import os

from runner.queues.credentials import amqp_url, aws_profiles
from runner.queues.credentials.finding import BadCredential


class Form(enum.Enum):
    """What a file in a directory of credentials is."""

    GOOGLE = enum.auto()
    #: Profiles, or what belongs to them.
    AWS = enum.auto()
    AMQP = enum.auto()
    #: PEM certificates, for a broker beside it.
    AUTHORITIES = enum.auto()
    #: ``queues``: names or addresses, one a line.
    QUEUES = enum.auto()
    #: ``profiles``: names of AWS profiles, one a line.
    PROFILES = enum.auto()
    #: Not meant for us: a README, an editor's copy.
    IGNORED = enum.auto()
    UNKNOWN = enum.auto()


_BY_NAME = {"queues": Form.QUEUES, "profiles": Form.PROFILES}
_IGNORED_NAMES = ("readme", "license")
_IGNORED_ENDS = ("~", ".md", ".swp", ".bak", ".tmp", ".part", ".orig")
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
_AMQP = ("amqp://", "amqps://")


def form_of(path: str, text: str) -> Form:
    """Tell what a file is."""
    name = os.path.basename(path).lower()  # noqa: PTH119 - strings all along
    if named := _BY_NAME.get(name):
        return named
    if name.startswith(_IGNORED_NAMES) or name.endswith(_IGNORED_ENDS):
        return Form.IGNORED
    if text.lstrip().startswith("{") or name.endswith(".json"):
        return Form.GOOGLE
    lines = amqp_url.lines_of(text)
    if lines and lines[0].lower().startswith(_AMQP):
        return Form.AMQP
    if _CERTIFICATE in text:
        return Form.AUTHORITIES
    return Form.AWS if _is_aws(name, text) else Form.UNKNOWN


def _is_aws(name: str, text: str) -> bool:
    # A file of that name that is no such file is a mistake that is worth its own sentence.
    if name in {"credentials", "config"}:
        return True
    try:
        return aws_profiles.has_profiles(aws_profiles.sections_of(text))
    except BadCredential:
        return False
