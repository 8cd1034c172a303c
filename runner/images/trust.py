"""Which images may be used here, from the operator's patterns. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runner.images.reference import ALIASES, RECIPE, REGISTRIES, Reference, placed

#: What the original runner trusted; of the first, nothing is left upstream.
DEFAULT = ("shub://sentient-singularity/*", "dockerhub://tensorflow/*")
_ANY, _DEEP = "*", "**"
#: Schemes whose addresses begin with a host, of which case means nothing.
_HOSTED = frozenset({"s3", "http", "https", "oras"})
#: Of all images that messages can name, also of such as nobody serves any more.
_SCHEMES = frozenset({*REGISTRIES, *ALIASES, *_HOSTED, "gs", "shub"})


@dataclass(frozen=True, slots=True)
class Trust:
    """The operator's patterns.

    ``*`` stands for anything within one part between slashes, at the end of a pattern for all that
    lies below; ``**`` for any number of parts. A name without a tag stands for all its tags. What
    begins with ``/`` are files and directories of this machine. A definition file is trusted by
    patterns alone that end in ``.def``: it says what is run here while the image is built.
    """

    patterns: tuple[str, ...] = DEFAULT

    def allows(self, reference: Reference, real: str = "") -> bool:
        """Tell whether some pattern names the image.

        ``real`` is where a local one lies when all links are followed; both names have to be
        trusted.
        """
        names = {reference.text, f"file://{real}" if real else reference.text}
        fitting = [one for one in self.patterns if not reference.is_recipe or one.endswith(RECIPE)]
        return all(any(matches(one, name) for one in fitting) for name in names)

    def refusal(self, reference: Reference) -> str:
        """Say what would have to change, for whoever is refused."""
        listed = ", ".join(one for one in self.patterns if one) or "none"
        if reference.is_recipe:
            return (
                "a definition file says what is run while its image is built, so that only a "
                f"pattern of --trusted-images that ends in {RECIPE} trusts it; trusted are: "
                f"{listed}"
            )
        return (
            "the operator of this runner does not trust this image; name one that is trusted "
            f"({listed}), or have the operator add it with --trusted-images"
        )

    @property
    def has_local(self) -> bool:
        """Some directory of this machine is trusted."""
        return any(normal(one).startswith("file://") for one in self.patterns)


def matches(pattern: str, text: str) -> bool:
    """Tell whether a pattern stands for the canonical ``text`` of a reference."""
    scheme, _, rest = normal(pattern).partition("://")
    own_scheme, _, name = text.partition("://")
    if not rest or scheme != own_scheme:
        return False
    return _expression(rest, has_tags=scheme in REGISTRIES).fullmatch(name) is not None


def is_possible(pattern: str) -> bool:
    """Tell whether there can be an image that a pattern stands for."""
    scheme, _, rest = normal(pattern).partition("://")
    if scheme == "file":
        return rest.startswith(("/", _DEEP))
    return scheme in _SCHEMES and rest != ""


def normal(pattern: str) -> str:
    """Return a pattern in the form that references have."""
    wanted = pattern.strip()
    if wanted.startswith("/"):
        return f"file://{wanted}"
    scheme, _, rest = wanted.partition("://")
    scheme = ALIASES.get(scheme.lower(), scheme.lower())
    if rest in {"", _ANY, _DEEP}:
        return f"{scheme}://{_DEEP if rest else ''}"
    parts = rest.split("/")
    if scheme == "docker" and parts[0] != _DEEP:
        parts = placed(scheme, parts)
    elif scheme in _HOSTED:
        parts[0] = parts[0].lower()
    return f"{scheme}://{'/'.join(parts)}"


def _expression(rest: str, *, has_tags: bool) -> re.Pattern[str]:
    *folders, last = rest.split("/")
    text = "".join("(?:[^/]+/)*" if one == _DEEP else f"{_part(one)}/" for one in folders)
    if last in {_ANY, _DEEP, ""}:
        return re.compile(f"{text}.+", re.DOTALL)
    tags = "(?:[:@][^/]*)?" if has_tags and not set(last) & set(":@") else ""
    return re.compile(f"{text}{_part(last)}{tags}", re.DOTALL)


def _part(pattern: str) -> str:
    return "".join("[^/]*" if one == _ANY else re.escape(one) for one in pattern)
