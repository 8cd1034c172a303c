"""Requirement lines as a message brings them: read, refused or put into one canonical form. Pure.

Only PEP 508 requirements, addresses, absolute paths and ``-e`` are understood. What is written into
the installer's file is what was understood here, never the text that came.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from runner.errors import BadField

#: Where the sender finds the line.
FIELD = "experiment.pythonenv or config.pip"
LONGEST = 4096

#: The installer would put variables of the build's environment, credentials included, in its place.
_VARIABLE = re.compile(r"\$\{[^}]*\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_COMMENT = re.compile(r"(^|\s)#\s.*$|^#.*$")
_EDITABLE = re.compile(r"^(?:-e|--editable)(?:\s+|=)(?P<target>.*)$")
_REPOSITORY = re.compile(r"^git\+[a-z]+://\S+$")
_ADDRESS = re.compile(r"^(?:https?|file)://\S+$")
_COMMIT = re.compile(r"@[0-9a-f]{40}(#|$)")
_VARIANT = re.compile(r"\+(cu\d+|rocm[\d.]+|cpu|xpu)$")
_BUILT = ".whl"
#: Packages that the makers of PyTorch keep in one index for each kind of accelerator.
_TORCH = frozenset({"torch", "torchvision", "torchaudio", "torchtext", "torchdata", "triton"})


@dataclass(frozen=True, slots=True)
class Line:
    """One requirement."""

    #: As the installer gets it.
    text: str
    #: Canonical; empty where only the installation will tell.
    name: str = ""
    #: The version of an exact pin.
    version: str = ""
    #: Installing it surely runs the package's own code, or reads this machine's files.
    runs_code: bool = False
    #: A file or directory of this machine.
    path: str = ""
    address: str = ""
    #: Condition under which it is wanted.
    marker: str = ""

    @property
    def pinned(self) -> bool:
        """Whether it can mean only one thing; a branch of a repository moves."""
        if self.address.startswith("git+"):
            return bool(_COMMIT.search(self.address))
        return bool(self.version or self.address or self.path)


@dataclass(frozen=True, slots=True)
class Requirements:
    """All that one experiment wants."""

    lines: tuple[Line, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """The lines as the installer gets them."""
        return tuple(line.text for line in self.lines)

    @property
    def names(self) -> frozenset[str]:
        """The packages asked for by name."""
        return frozenset(line.name for line in self.lines if line.name)

    @property
    def pinned(self) -> bool:
        """Whether every line is; a frozen list of a working environment is."""
        return all(line.pinned for line in self.lines)

    @property
    def runs_code(self) -> bool:
        """Whether installing surely runs code that a package brings."""
        return any(line.runs_code for line in self.lines)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the sender, not the operator, sends the installer."""
        return tuple(line.address for line in self.lines if line.address)

    def torch_backend(self, default: str) -> str:
        """Return the accelerator whose index is needed; empty when PyTorch is not asked for.

        A version that names its variant (``2.1.0+cu118``) is only found in that variant's index.
        """
        wanted = [line for line in self.lines if line.name in _TORCH]
        for line in wanted:
            found = _VARIANT.search(line.version)
            if found:
                return found[1]
        return default if wanted else ""


def parse(texts: Iterable[str]) -> Requirements:
    """Read requirement lines, dropping comments and what is said twice. Raises BadField.

    Of two exact pins of one package the later one holds, as installing in turn would have it.
    """
    lines: dict[object, Line] = {}
    for text in texts:
        line = _read(text)
        if line is None:
            continue
        pin = (line.name, line.marker) if line.version else line.text
        lines.pop(pin, None)
        lines[pin] = line
    return Requirements(tuple(lines.values()))


def _read(text: str) -> Line | None:
    stripped = text.strip()
    _check_characters(text, stripped)
    stripped = _COMMENT.sub("", stripped).strip()
    if not stripped:
        return None
    editable = _EDITABLE.match(stripped)
    if editable:
        return _editable(editable["target"].strip(), text)
    if stripped.startswith("-"):
        option = re.split(r"[\s=]", stripped)[0]
        raise BadField(
            FIELD, text, f"{option} is an option of the installer; only its operator sets those"
        )
    if _REPOSITORY.match(stripped):
        return _repository(stripped)
    if _ADDRESS.match(stripped):
        return _address(stripped)
    if stripped.startswith("/"):
        return Line(stripped, runs_code=True, path=stripped)
    return _named(stripped, text)


def _check_characters(text: str, stripped: str) -> None:
    if len(text) > LONGEST:
        raise BadField(FIELD, text, f"a requirement has at most {LONGEST} characters")
    if _CONTROL.search(stripped):
        raise BadField(FIELD, text, "a requirement is one line of printable text")
    if _VARIABLE.search(stripped):
        raise BadField(FIELD, text, "variables are not expanded in requirements")


def _editable(target: str, text: str) -> Line:
    if _REPOSITORY.match(target):
        return _repository(target)
    path = target.removeprefix("file://")
    if path.startswith("/"):
        return Line(f"-e {path}", runs_code=True, path=path)
    raise BadField(FIELD, text, "after -e comes git+https://… or an absolute path")


def _repository(address: str) -> Line:
    """Take a version control address; a checkout cannot be edited in a shared environment."""
    base, _, fragment = address.partition("#")
    fields = dict(parse_qsl(fragment))
    name = canonicalize_name(fields.get("egg", "").split("[")[0])
    folder = fields.get("subdirectory", "")
    where = f"{base}#subdirectory={folder}" if folder else base
    if not re.fullmatch(r"[a-z0-9-]+", name):
        return Line(where, runs_code=True, address=base)
    return Line(f"{name} @ {where}", name, runs_code=True, address=base)


def _address(address: str) -> Line:
    if address.startswith("file://"):
        path = address.removeprefix("file://").partition("#")[0]
        return Line(address, runs_code=True, path=path)
    return Line(address, runs_code=not _is_built(address), address=address)


def _is_built(address: str) -> bool:
    return address.partition("#")[0].partition("?")[0].endswith(_BUILT)


def _named(stripped: str, text: str) -> Line:
    try:
        found = Requirement(stripped)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        if _looks_like_a_path(stripped):
            reason = "a path must be absolute"
        raise BadField(FIELD, text, f"this is no requirement: {reason}") from error
    found.name = canonicalize_name(found.name)
    marker = str(found.marker or "")
    if found.url is None:
        return Line(str(found), found.name, _exact_version(found), marker=marker)
    if found.url.startswith("file:"):
        path = "/" + found.url.removeprefix("file:").lstrip("/").partition("#")[0]
        return Line(str(found), found.name, runs_code=True, path=path, marker=marker)
    if not (_REPOSITORY.match(found.url) or _ADDRESS.match(found.url)):
        raise BadField(FIELD, text, "an address begins with https://, http:// or git+")
    return Line(
        str(found),
        found.name,
        runs_code=not _is_built(found.url),
        address=found.url,
        marker=marker,
    )


def _looks_like_a_path(text: str) -> bool:
    return text.startswith((".", "~")) or ("/" in text and "@" not in text)


def _exact_version(found: Requirement) -> str:
    specifiers = list(found.specifier)
    if len(specifiers) != 1:
        return ""
    only = specifiers[0]
    if only.operator not in {"==", "==="} or only.version.endswith(".*"):
        return ""
    return only.version


def package_names(texts: Iterable[str]) -> frozenset[str]:
    """Return the packages that installer lines name."""
    return parse(texts).names
