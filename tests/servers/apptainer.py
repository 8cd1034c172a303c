"""A tiny container image with a Python and a package of its own, as a directory and as a SIF file.

    @pytest.mark.service("apptainer")
    def test_...(image: Path, image_file: Path) -> None:   # fixtures, from tests/conftest.py

Made of this machine's own programs; nothing is fetched. A test must not change either.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.passage import open_to_all
from tests.services import absence

#: The system's own: it finds its library below ``/usr``, in the image as well as here.
PYTHON = Path("/usr/bin/python3")
#: Lies in the image alone: who sees it is inside.
NAME_FILE = "/image-name"
NAME = "tiny"
#: Prints what it is given after this word.
RUNSCRIPT_WORD = "runscript:"
#: A package that the image brings, installed as distributions are.
PACKAGE, VERSION = "imagepackage", "1.5"

_PROGRAMS = (
    *("sh", "env", "cat", "ls", "sleep", "id", "mkdir", "touch", "printf", "true", "echo", "chmod"),
    *("rm", "mv", "ln", "truncate", "grep", "setsid", "mknod", "mount", "chown"),
)
#: Every image with glibc has these; installers need them.
_RUNTIME = ("libgcc_s.so.1", "librt.so.1", "libpthread.so.0", "libdl.so.2", "libm.so.6")
_FOLDERS = "dev proc sys tmp var/tmp etc root home run usr/bin usr/lib usr/lib64 .singularity.d/env"
_LEFT_OUT = shutil.ignore_patterns(
    *("__pycache__", "test", "idlelib", "tkinter", "config-*", "pydoc_data", "lib2to3"),
    *("turtledemo", "sitecustomize.py"),
)


def _libraries(program: Path) -> Iterator[Path]:
    command = ["/usr/bin/ldd", str(program)]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return (Path(word) for word in told.split() if word.startswith("/"))


def _put(root: Path, path: Path) -> None:
    """Copy a file to where it lies here, and what it is linked against."""
    target = root / path.relative_to("/")
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path.resolve(), target)
    for library in _libraries(path):
        _put(root, library)


def make_image(root: Path, *, name: str = NAME) -> Path:
    """Make the image's directory at ``root``, 36 MB in about a second."""
    for folder in _FOLDERS.split():
        (root / folder).mkdir(parents=True)
    for link in ("bin", "lib", "lib64"):
        (root / link).symlink_to(f"usr/{link}")
    for program in _PROGRAMS:
        _put(root, Path("/usr/bin", program))
    real = PYTHON.resolve()
    _put(root, real)
    (root / "usr/bin/python3").symlink_to(real.name)
    (root / "usr/bin/python").symlink_to("python3")
    library = Path("/usr/lib", real.name)
    shutil.copytree(
        library, root / str(library)[1:], ignore=_LEFT_OUT, ignore_dangling_symlinks=True
    )
    for module in (library / "lib-dynload").glob("*.so"):
        for needed in _libraries(module):
            _put(root, needed)
    for soname in _RUNTIME:
        for needed in (*Path("/usr/lib").glob(f"*/{soname}"), *Path("/lib").glob(f"*/{soname}")):
            _put(root, needed)
    _add_package(root)
    _add_runscript(root)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / NAME_FILE[1:]).write_text(name)
    return root


def _add_package(root: Path) -> None:
    packages = root / "usr/lib/python3/dist-packages"
    (packages / PACKAGE).mkdir(parents=True)
    (packages / PACKAGE / "__init__.py").write_text(f"VERSION = {VERSION!r}\n")
    info = packages / f"{PACKAGE}-{VERSION}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\n")
    (info / "RECORD").touch()


def _add_runscript(root: Path) -> None:
    script = root / ".singularity.d/runscript"
    script.write_text(f'#!/bin/sh\necho "{RUNSCRIPT_WORD}" "$@"\nexit 0\n')
    script.chmod(0o755)
    (root / "singularity").symlink_to(".singularity.d/runscript")


def _needed() -> None:
    if reason := absence("apptainer"):
        pytest.skip(f"service apptainer: {reason}")
    if not PYTHON.exists():
        pytest.skip(f"the image is made of the system's own Python: no {PYTHON}")


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the image, which every user may read."""
    _needed()
    root = tmp_path_factory.mktemp("image")
    made = make_image(root / "tiny")
    open_to_all(made)
    return made


@pytest.fixture(scope="session")
def image_file(image: Path) -> Path:
    """Return the same image as a SIF file."""
    target = image.with_suffix(".sif")
    command = ["apptainer", "build", "--disable-cache", str(target), str(image)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        pytest.skip(f"no SIF can be made here: {built.stderr[-2000:]}")
    target.chmod(0o644)
    return target
