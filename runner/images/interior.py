"""What is inside of an image: its Python, the packages that this one sees, its PATH. Asked once."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import anyio
import msgspec

from runner import own_files
from runner.environments import interpreters
from runner.environments.interpreters import OLDEST, Interpreter
from runner.environments.layering import Base
from runner.errors import ArtifactBad, HostFault, PythonMissing, host_fault
from runner.images.base import Ended, Errand, Errands, Image

_PATIENCE = timedelta(minutes=2)
_MARK = "studio-runner-interior "
#: Runs in the image's own Python, whatever its version: so that of Python 2, too.
PROBE = """\
import json, os, site, sys
found = {"version": "%d.%d.%d" % tuple(sys.version_info[:3]), "path": os.environ.get("PATH", "")}
found["python"] = os.path.realpath(sys.executable)
try:
    import importlib.metadata, sysconfig
    names, described = {}, []
    for one in importlib.metadata.distributions():
        name = (one.metadata["Name"] or "").lower().replace("_", "-")
        if name and name not in names:
            names[name] = one.version
            described.append((name, one.version, [str(line) for line in one.requires or ()]))
    libc = ""
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):
        pass
    found["platform"] = sysconfig.get_platform()
    found["abi"] = sysconfig.get_config_var("SOABI") or ""
    found["implementation"] = sys.implementation.name
    found["libc"] = libc
    found["folders"] = [one for one in site.getsitepackages() if os.path.isdir(one)]
    found["described"] = described
    found["packages"] = sorted("%s==%s" % pair for pair in names.items())
except ImportError:
    pass
print("MARK" + json.dumps(found))
""".replace("MARK", _MARK)


class Answer(msgspec.Struct, frozen=True):
    """What the probe printed, which whoever made the image may have had a hand in."""

    version: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$")]
    python: Annotated[str, msgspec.Meta(pattern=r"^/[^\x00-\x1f]*$")]
    path: str
    implementation: str = ""
    platform: str = ""
    abi: str = ""
    libc: str = ""
    folders: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    #: Of each package its name, its version, and what it requires.
    described: tuple[tuple[str, str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Interior:
    """What was found in an image."""

    #: ``3.11.2``
    version: str
    #: Where it is, in there.
    python: str
    #: The image's own search path.
    path: str
    #: What environments are built upon; ``None`` for a Python too old for that.
    interpreter: Interpreter | None = None
    base: Base | None = None


class Interiors:
    """Looks into images, once for each content; the answers are kept below ``root``."""

    def __init__(self, root: Path, errands: Errands) -> None:
        self._root = root
        self._errands = errands
        self._looking: dict[str, anyio.Lock] = {}

    async def look(self, image: Image, wanted: str | None) -> Interior:
        """Return what is inside, with a Python of a version that begins as ``wanted`` says.

        Where there is no such one, with another: who chose the image chose its Python. Raises
        PythonMissing where there is none at all, ArtifactBad for what is no image, HostFault.
        """
        name = f"{image.key}-{wanted or ''}.json"
        looking = self._looking.setdefault(name, anyio.Lock())
        try:
            async with looking:
                known = _read(self._root / name)
                if known is None:
                    known = await self._ask(image, wanted)
                    self._remember(name, known)
        finally:
            if not looking.locked():  # nobody waits for it either
                self._looking.pop(name, None)
        return _interior(known)

    def _remember(self, name: str, answer: Answer) -> None:
        new = self._root / f"{name}.new"
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_bytes(msgspec.json.encode(answer))
            new.replace(self._root / name)
        except OSError as error:
            raise host_fault("what is in an image cannot be noted", error) from error

    async def _ask(self, image: Image, wanted: str | None) -> Answer:
        there: list[Answer] = []
        for candidate in candidates(wanted):
            errand = Errand(
                (candidate, "-c", PROBE),
                f"interior-{secrets.token_hex(8)}",
                _PATIENCE,
                image=image.path,
            )
            ended = await self._errands.run(errand)
            found = _told(image, ended)
            if found is None:
                _check(image, ended)
                continue
            if interpreters.begins(found.version, wanted or ""):
                return found
            there.append(found)
        if there:
            return there[0]
        raise PythonMissing(
            f"the container image {image.name} has no Python that runs; leave filename empty to "
            "have the image's own program run"
        )


def candidates(wanted: str | None) -> Sequence[str]:
    """Return the names that a Python may have in an image, the likeliest first."""
    parts = wanted.split(".") if wanted else []
    exact = [f"python{'.'.join(parts[:2])}"] if parts else []
    # What is called python is what the image's maker wants to be used.
    return tuple(dict.fromkeys([*exact, "python3", "python"] if parts else ["python", "python3"]))


def _told(image: Image, ended: Ended) -> Answer | None:
    for line in ended.text.splitlines():
        if ended.code == 0 and line.startswith(_MARK):
            try:
                return msgspec.json.decode(line.removeprefix(_MARK), type=Answer)
            except (msgspec.MsgspecError, UnicodeError) as error:
                raise ArtifactBad(
                    f"the Python of the container image {image.name} does not say what it is: "
                    f"{error}"
                ) from error
    return None


def _check(image: Image, ended: Ended) -> None:
    """Raise where it is not the lack of a Python that the words tell of."""
    last = ended.text.strip()[-1000:]
    if not ended.started or ended.code is None:
        raise HostFault(f"nothing can be started in the container image {image.name}: {last}")
    lacks = ("not found", "no such file or directory", "No such file or directory")
    if "FATAL" in ended.text and not any(sign in ended.text for sign in lacks):
        raise ArtifactBad(f"the container image {image.name} cannot be used: {last}")


def _read(path: Path) -> Answer | None:
    try:
        return own_files.read_as(path, Answer)
    except (OSError, ValueError):
        return None


def _interior(found: Answer) -> Interior:
    numbers = tuple(int(part) for part in found.version.split("."))
    if numbers < OLDEST or found.implementation != "cpython":
        return Interior(found.version, found.python, found.path)
    interpreter = Interpreter(
        Path(found.python),
        found.version,
        found.implementation,
        found.platform,
        found.abi,
        found.libc,
    )
    base = Base(Path(found.python), found.folders, found.packages, (), found.described)
    return Interior(found.version, found.python, found.path, interpreter, base)
