"""Compiles the modules of an environment once, after the first run was started, in the background.

Compiling before the start would delay it by more than the first import loses without.
"""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import anyio

from runner import blocking
from runner.environments import interpreters, manifest, venv

#: Runs without ``site``: nothing that a package brings is executed. Directories that an ordinary
#: owner sealed are opened one at a time. Speaks the Python of every interpreter that is found.
SCRIPT = """\
import compileall, os, resource, sys
os.nice(19)
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
sys.setrecursionlimit(10000)
for folder, folders, files in os.walk(sys.argv[1]):
    if "__pycache__" in folders:
        folders.remove("__pycache__")
    if not any(name.endswith(".py") for name in files):
        continue
    cache = os.path.join(folder, "__pycache__")
    mode = os.stat(folder).st_mode & 0o7777
    os.chmod(folder, mode | 0o200)
    try:
        if os.path.isdir(cache):
            os.chmod(cache, 0o755)
        compileall.compile_dir(folder, maxlevels=0, quiet=2)
        if os.path.isdir(cache):
            for name in os.listdir(cache):
                os.chmod(os.path.join(cache, name), 0o444)
            os.chmod(cache, 0o555)
    finally:
        os.chmod(folder, mode)
"""

#: The longest that is spent on one environment, in seconds.
PATIENCE = 1800.0


async def compile_packages(root: Path, threads: blocking.Limit) -> bool:
    """Compile the environment at ``root`` and note it in its manifest; tell whether it was done."""
    known = manifest.read(root)
    if known is None or known.is_compiled:
        return False
    interpreter = interpreters.restore(known.interpreter)
    await _run(interpreter.path, venv.site_packages(root, interpreter))

    def note(_: blocking.Stop) -> bool:
        now = manifest.survey(root)
        if now.digest != known.survey.digest:
            return False  # changed by a run; the next attachment builds it anew
        replace(known, survey=now, is_compiled=True).write(root)
        return True

    return await blocking.call(note, limit=threads)


async def _run(python: Path, packages: Path) -> None:
    """Files that do not compile are the package's business, so the exit code says nothing."""
    process = await anyio.open_process(
        [str(python), "-I", "-S", "-c", SCRIPT, str(packages)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"LANG": "C.UTF-8"},
        start_new_session=True,
        umask=0o022,
    )
    try:
        with anyio.move_on_after(PATIENCE):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()
