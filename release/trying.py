"""Tries what was built as somebody who installs it would, on a machine that has nothing else."""

from __future__ import annotations

import os
import subprocess
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import uv

from release.building import LOCK
from release.versions import Refused
from runner.revision import FILE


def check_contents(wheel: Path, expected: Collection[str]) -> None:
    """Raise Refused unless the wheel has the files that git knows, and only them."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    found = {name for name in names if ".dist-info/" not in name} - {f"runner/{FILE}"}
    missing, surplus = set(expected) - found, found - set(expected)
    if missing or surplus:
        raise Refused(
            f"{wheel.name} lacks {sorted(missing) or 'nothing'} and has {sorted(surplus) or 'none'}"
            " besides"
        )


def installed(wheel: Path, source: Path, scratch: Path) -> Path:
    """Install the wheel and what is locked into an environment of their own; return its command."""
    place = scratch / "installed"
    python = place / "bin" / "python"
    _uv("venv", "--quiet", str(place))
    words = ("pip", "install", "--quiet", "--python", str(python))
    _uv(*words, "--require-hashes", "--requirement", str(source / LOCK))
    _uv(*words, "--no-deps", str(wheel))
    return place / "bin" / "studio-runner"


def answers(command: Path, scratch: Path, version: str, commit: str) -> None:
    """Raise Refused unless the command knows its version, and could be a daemon."""
    home = scratch / f"home-of-{command.name}"
    home.mkdir()
    environ = {"HOME": str(home), "PATH": os.defpath, "PEX_ROOT": str(home / "pex")}
    said = _said([str(command), "--version"], environ)
    if said.strip() != f"studio-runner {version} ({commit[:12]})":
        raise Refused(f"{command} --version says {said.strip()!r}")
    daemon = ["run", "--dry-run", "--allow-root-experiments"]
    daemon += [f"--{name}={home / name}" for name in ("state-dir", "queue-root", "certs-dir")]
    for words in (["config"], ["demo", "--help"], daemon):
        _said([str(command), *words], environ)


def _uv(*words: str) -> None:
    _said([uv.find_uv_bin(), *words], os.environ)


def _said(command: Sequence[str], environ: Mapping[str, str]) -> str:
    done = subprocess.run(
        command,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Refused(f"{' '.join(command[:3])} failed:\n{done.stderr.strip()}")
    return done.stdout
