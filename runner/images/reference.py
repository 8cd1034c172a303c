"""What a person wrote for a container image, in one normal form. Pure."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path

from runner.model import Location

#: Ends the name of a definition file, from which an image is built by running what it says.
RECIPE = ".def"
HUB = "docker.io"
HUB_NAMES = frozenset({HUB, "index.docker.io", "registry-1.docker.io"})
REGISTRIES = frozenset({"docker", "library", "oras"})
#: Other names of them.
ALIASES = {"dockerhub": "docker"}
_DEAD = "shub"
_LATEST = "latest"

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?")
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
#: Of the Library, whose users have names such as ``Alice``.
_LOOSE_NAME = re.compile(r"[A-Za-z0-9]+(?:[._-]+[A-Za-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
#: The Library writes it as a tag.
_PINNED = re.compile(r"(@sha256:|:sha256\.)[0-9a-f]{64}$")
_SCHEME = re.compile(r"([a-z][a-z0-9+]*)://(.*)", re.DOTALL)


class NotAnImage(ValueError):
    """The text names no container image; the message says why, and completes "it is X: …"."""


class Kind(enum.Enum):
    """Where an image comes from."""

    #: Pulled from a registry by Apptainer.
    REGISTRY = enum.auto()
    #: A file or a directory of this machine, used where it lies.
    LOCAL = enum.auto()
    #: An object in a store of artifacts.
    STORED = enum.auto()


@dataclass(frozen=True, slots=True)
class Reference:
    """One image. Equal references are the same image, as far as that can be told from them."""

    kind: Kind
    #: ``docker://docker.io/tensorflow/tensorflow:2.4``, ``file:///srv/images/a.sif`` …
    text: str

    @property
    def is_recipe(self) -> bool:
        """It is a definition file, of which an image is built first."""
        return self.text.endswith(RECIPE)

    @property
    def is_pinned(self) -> bool:
        """It names its content: there is nothing to ask the registry again."""
        return self.kind is Kind.REGISTRY and _PINNED.search(self.text) is not None

    @property
    def path(self) -> Path:
        """Where a local one lies."""
        return Path(self.text.removeprefix("file://"))


def of_location(location: Location) -> Reference:
    """Return the image of the artifact ``_singularity``. Raises NotAnImage."""
    scheme = ALIASES.get(location.scheme, location.scheme)
    if scheme == _DEAD or scheme in REGISTRIES:
        return _registry(scheme, location.key)
    if scheme == "file":
        return Reference(Kind.LOCAL, f"file://{location.key}")
    parts = (location.host, location.bucket, location.path)
    return Reference(Kind.STORED, f"{scheme}://" + "/".join(part for part in parts if part))


def of_text(text: str) -> Reference:
    """Return the image that an operator names: a path, or an address. Raises NotAnImage."""
    wanted = text.strip()
    if wanted.startswith("/"):
        return Reference(Kind.LOCAL, f"file://{wanted}")
    found = _SCHEME.fullmatch(wanted)
    if found is None:
        raise NotAnImage("write an absolute path, or an address such as docker://python:3.11")
    scheme = ALIASES.get(found[1], found[1])
    if scheme == _DEAD or scheme in REGISTRIES:
        return _registry(scheme, found[2])
    if scheme == "file" and found[2].startswith("/"):
        return Reference(Kind.LOCAL, wanted)
    raise NotAnImage("write a path, docker://, library:// or oras://; stores are for messages")


def _registry(scheme: str, rest: str) -> Reference:
    if scheme == _DEAD:
        raise NotAnImage(
            "Singularity Hub (shub://) was shut down in 2021 and serves no images any more; name "
            "one of another registry, such as docker://python:3.11"
        )
    name, _, digest = rest.partition("@")
    if digest and not _DIGEST.fullmatch(digest):
        raise NotAnImage("what follows the @ is no digest: sha256: and 64 hexadecimal digits")
    folders, _, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    if (tag and not _TAG.fullmatch(tag)) or name.endswith(":"):
        raise NotAnImage(f"{tag[:40]!r} can be no tag of an image")
    parts = placed(scheme, [*(folders.split("/") if folders else ()), last])
    loose = _LOOSE_NAME if scheme == "library" else _NAME
    host, names = (parts[0], parts[1:]) if scheme != "library" else ("", parts)
    if (host and not _HOST.fullmatch(host)) or not names:
        raise NotAnImage(f"write an address such as {scheme}://registry.example/team/image:tag")
    for one in names:
        if not loose.fullmatch(one):
            raise NotAnImage(f"{one[:40]!r} can be no part of an image's name")
    version = f"@{digest}" if digest else f":{tag or _LATEST}"
    return Reference(Kind.REGISTRY, f"{scheme}://{'/'.join(parts)}{version}")


def placed(scheme: str, parts: list[str]) -> list[str]:
    """Return the parts of a name with the registry's host first, as Docker reads them."""
    if scheme != "docker":
        return [parts[0].lower(), *parts[1:]] if scheme == "oras" else parts
    is_host = len(parts) > 1 and (set(parts[0]) & set(".:") or parts[0] == "localhost")
    if is_host and parts[0].lower() not in HUB_NAMES:
        return [parts[0].lower(), *parts[1:]]
    names = parts[1:] if is_host else parts
    return [HUB, *(("library", *names) if len(names) == 1 else names)]
