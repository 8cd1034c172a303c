"""AWS credentials: files in the format of the AWS command line, read as protocol 3.5 does."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterable, Mapping

from runner.queues.credential import AwsCredential
from runner.queues.credentials.finding import BadCredential, Found, marked
from runner.redaction import Secret

Sections = Mapping[str, Mapping[str, str]]

DEFAULT = "default"
_KEY, _SECRET, _TOKEN = "aws_access_key_id", "aws_secret_access_key", "aws_session_token"
#: Without keys of its own a profile needs one of these.
_ROLE, _SOURCE, _WEB = "role_arn", "source_profile", "web_identity_token_file"
#: Passed on to botocore as they are.
_PASSED = (
    _ROLE,
    _WEB,
    "credential_source",
    "duration_seconds",
    "external_id",
    "role_session_name",
)
_REGION = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,62}")
_UNNAMED = re.compile(r"[^A-Za-z0-9._-]+")
_NAME = re.compile(r"[A-Za-z0-9_.@+/-]{1,64}")
_WORD = re.compile(r"[!-~]{1,4096}")


def sections_of(text: str) -> Sections:
    """Return the sections of a file; what stands before the first belongs to ``default``.

    ``[profile NAME]`` is ``[NAME]``. Raises BadCredential, which shows no line of the file.
    """
    parser = configparser.RawConfigParser(
        strict=False, default_section="\0", delimiters=("=",), empty_lines_in_values=False
    )
    try:
        parser.read_string(text if _begins_with_section(text) else f"[{DEFAULT}]\n{text}")
    except configparser.Error as error:
        line = getattr(error, "lineno", None) or next(iter(getattr(error, "errors", [])), [""])[0]
        where = f" (line {line})" if line else ""
        raise BadCredential(
            f"is no file of AWS profiles{where}: lines are '[profile]' or 'name = value'"
        ) from None
    found: dict[str, dict[str, str]] = {}
    for section in parser.sections():
        # Values of the command line's nested form ("s3 =", indented lines) concern no queue.
        found.setdefault(_profile(section), {}).update(parser.items(section))
    return found


def has_keys(sections: Sections) -> bool:
    """Tell whether the file holds a key, and is not only about regions."""
    return any(_KEY in values or _SECRET in values for values in sections.values())


def has_profiles(sections: Sections) -> bool:
    """Tell whether these are AWS profiles at all."""
    return any(
        name.startswith("aws_") or name in {"region", "endpoint_url", *_PASSED}
        for values in sections.values()
        for name in values
    )


def merged(files: Iterable[Sections]) -> Sections:
    """Return the profiles of several files; of two values the later file's counts."""
    whole: dict[str, dict[str, str]] = {}
    for sections in files:
        for name, values in sections.items():
            whole.setdefault(name, {}).update(values)
    return whole


def read(
    sections: Sections,
    profiles: Iterable[str],
    *,
    scope: str,
    origin: str,
    files: frozenset[str],
    endpoint: str = "",
) -> tuple[list[Found], list[str]]:
    """Return the credentials of the profiles, ``default`` where none is named, and what is wrong.

    The scope of a profile that is named ends with its name.
    """
    named = list(dict.fromkeys(profiles))
    found, wrong = [], []
    for profile in named or [DEFAULT]:
        where = f"{origin}, profile {profile}" if named else origin
        try:
            credential = _credential(
                sections, profile, named_scope(scope, profile) if named else scope, where, endpoint
            )
        except BadCredential as error:
            wrong.append(str(error))
        else:
            secrets = (credential.secret_key, credential.session_token)
            found.append(Found(credential, tuple(filter(None, secrets)), files))
    return found, wrong


def named_scope(*parts: str) -> str:
    """Return the name of an account: protocol section 3.5."""
    return _UNNAMED.sub("-", "_".join(parts))


def _credential(
    sections: Sections, profile: str, scope: str, origin: str, endpoint: str
) -> AwsCredential:
    own = sections.get(profile)
    if not _NAME.fullmatch(profile):
        raise BadCredential("has a line in the file 'profiles' that is no name of a profile")
    if own is None:
        raise BadCredential(_no_profile(sections, profile))
    keys = _keys(sections, profile, own)
    return marked(
        AwsCredential(
            broker="sqs",
            scope=scope,
            origin=origin,
            fingerprint="",
            region=_region(sections, profile, own),
            access_key=keys.get(_KEY, ""),
            secret_key=Secret(keys.get(_SECRET, "")),
            session_token=Secret(keys.get(_TOKEN, "")),
            profile={name: own[name] for name in _PASSED if own.get(name)},
            endpoint=own.get("endpoint_url", "") or endpoint,
        )
    )


def _no_profile(sections: Sections, profile: str) -> str:
    others = ", ".join(sorted(sections)[:8]) or "none"
    if profile == DEFAULT:
        return (
            f"has no profile [{DEFAULT}], only {others}: call one of them so, or name those that "
            "are to be used in a file 'profiles' beside it, one a line"
        )
    return f"has no profile [{profile}], which the file 'profiles' names, only {others}"


def _keys(sections: Sections, profile: str, own: Mapping[str, str]) -> Mapping[str, str]:
    """Return the section that the keys stand in; an empty one where a role brings them."""
    if own.get(_ROLE) and (source := own.get(_SOURCE)) and source != profile:
        if source not in sections:
            raise BadCredential(f"has no profile [{source}], which {_SOURCE} of [{profile}] names")
        return _keys(sections, source, {**sections[source], _ROLE: "", _WEB: ""})
    if own.get(_ROLE) and (own.get(_WEB) or own.get("credential_source")):
        return {}
    missing = [name for name in (_KEY, _SECRET) if not own.get(name)]
    if missing:
        more = " (credential_process is not run)" if own.get("credential_process") else ""
        raise BadCredential(f"lacks {' and '.join(missing)} in [{profile}]{more}")
    unclear = [
        name for name in (_KEY, _SECRET, _TOKEN) if not _WORD.fullmatch(own.get(name, "----"))
    ]
    if unclear:
        raise BadCredential(f"has an impossible {unclear[0]} in [{profile}]: copy it again")
    return own


def _region(sections: Sections, profile: str, own: Mapping[str, str]) -> str:
    region = own.get("region") or sections.get(DEFAULT, {}).get("region", "")
    if not region and profile == DEFAULT:
        # The original takes any line that says "region=", in whatever section.
        region = next((one["region"] for one in sections.values() if one.get("region")), "")
    if not region:
        raise BadCredential(
            f"names no region for [{profile}]: write 'region = us-west-2', or whichever it is, "
            "into that profile, or into a file 'config' beside it"
        )
    if not _REGION.fullmatch(region):
        raise BadCredential(f"has the region {region[:60]!r}, which is none: us-west-2 would be")
    return region


def _begins_with_section(text: str) -> bool:
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and line[0] not in "#;"), "[").startswith("[")


def _profile(section: str) -> str:
    kind, _, name = section.strip().partition(" ")
    return name.strip().strip("\"'") if kind == "profile" and name.strip() else section.strip()
