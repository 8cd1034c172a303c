"""Names and link targets from archives: which of them stay inside their directory. Pure."""

from __future__ import annotations

from runner.archives.members import shown
from runner.errors import ArtifactBad


def split(name: str) -> tuple[str, ...]:
    """Split a member's name. Raises ArtifactBad when it is absolute or climbs."""
    if name.startswith("/"):
        raise ArtifactBad(f"{shown(name)} in the archive is an absolute path")
    parts = tuple(part for part in name.split("/") if part not in {"", "."})
    if ".." in parts:
        raise ArtifactBad(f"{shown(name)} in the archive leaves its directory")
    if "\0" in name:
        raise ArtifactBad(f"{shown(name)} in the archive is no possible file name")
    return parts


def stays_inside(parts: tuple[str, ...], target: str) -> bool:
    """Tell whether the link ``parts`` has a target inside the tree, as far as its text says."""
    if target.startswith("/") or "\0" in target:
        return False
    depth = len(parts) - 1
    for part in target.split("/"):
        if part == "..":
            depth -= 1
            if depth < 0:
                return False
        elif part not in {"", "."}:
            depth += 1
    return True


def is_winding(target: str) -> bool:
    """Tell whether a target climbs after it went down, perhaps through another link."""
    parts = [part for part in target.split("/") if part not in {"", "."}]
    climbs = 0
    while climbs < len(parts) and parts[climbs] == "..":
        climbs += 1
    return ".." in parts[climbs:]


def leaves(name: str, target: str) -> ArtifactBad:
    """Make the error about a link whose target is elsewhere."""
    return ArtifactBad(
        f"{shown(name)} in the archive is a link to {shown(target)}, outside its directory"
    )
