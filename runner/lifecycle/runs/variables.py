"""The environment variables of an experiment: what it is given, and nothing else (design 5.17)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from runner.environments.base import Attachment
from runner.model import NOTHING, Allocation, Request

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Every Linux has it, unlike ``en_US.utf8``.
_LOCALE = "C.UTF-8"
_NO_GPU = "-1"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS")


def base_variables(
    *, user: str, exposed: Iterable[str] = (), own: Mapping[str, str] = NOTHING
) -> dict[str, str]:
    """Return what every experiment starts from, and what ``%NAME%`` expands from.

    ``own`` is the daemon's environment, of which nothing is taken but the names in ``exposed``.
    """
    base = {
        "PATH": DEFAULT_PATH,
        "USER": user,
        "LOGNAME": user,
        "SHELL": "/bin/sh",
        "LANG": _LOCALE,
        "LC_ALL": _LOCALE,
        "PYTHONUNBUFFERED": "1",
        "AWS_SDK_LOAD_CONFIG": "1",
    }
    return base | {name: own[name] for name in exposed if name in own}


def variables(
    request: Request,
    allocation: Allocation,
    *,
    base: Mapping[str, str],
    home: Path,
    scratch: Path,
    name: str,
    attachment: Attachment,
) -> dict[str, str]:
    """Return the complete environment of one attempt.

    In this order, later ones winning: ``base`` with ``HOME`` and ``TMPDIR``; the request's
    ``config.env``; the Python environment's own; what belongs to the allocation. ``name`` is the
    value of ``STUDIOML_EXPERIMENT``.
    """
    ground = dict(base) | {"HOME": str(home), "TMPDIR": str(scratch)}
    ground["PATH"] = _led_by(attachment.path, ground.get("PATH", DEFAULT_PATH))
    env = ground | {key: expanded(value, ground) for key, value in request.env.items()}
    env["PATH"] = _led_by(attachment.path, env["PATH"])
    env |= attachment.variables
    env |= {"STUDIOML_EXPERIMENT": name, "STUDIOML_HOME": str(home), "TMPDIR": str(scratch)}
    return env | _gpus(allocation) | _threads(allocation.cores, env)


def expanded(value: str, known: Mapping[str, str]) -> str:
    """Replace each ``%NAME%`` whose name has a value; everything else stays as it is written.

    A name lies between two neighbouring percent signs; what was put in is not looked at again.
    """
    first, *rest = value.split("%")
    done = [first]
    while len(rest) > 1:
        found = known.get(rest[0], "")
        done.append(found + rest[1] if found else "%" + rest[0])
        rest = rest[2:] if found else rest[1:]
    return "".join([*done, *("%" + part for part in rest)])


def _led_by(directories: tuple[Path, ...], path: str) -> str:
    """Put the environment's programs first, where the experiment did not place them itself."""
    present = path.split(os.pathsep)
    missing = [str(directory) for directory in directories if str(directory) not in present]
    return os.pathsep.join([*missing, *([path] if path else [])])


def _gpus(allocation: Allocation) -> dict[str, str]:
    cards = ",".join(allocation.gpus) or _NO_GPU
    return {
        "CUDA_VISIBLE_DEVICES": cards,
        "NVIDIA_VISIBLE_DEVICES": cards,
        # The order of nvidia-smi, so that device 0 is the same card in every tool.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


def _threads(cores: int, env: Mapping[str, str]) -> dict[str, str]:
    """Let numeric libraries start as many threads as there are cores for them.

    All cores, where the original left one out: a thread that waits costs nothing, an idle core
    does. An experiment that asks for fewer (data loaders, say) gets fewer; never more.
    """
    return {name: _fewer(env.get(name, ""), cores) for name in _THREADS}


def _fewer(asked: str, cores: int) -> str:
    is_share = asked.isascii() and asked.isdigit() and len(asked) < len("10000")
    return str(min(max(int(asked), 1), cores)) if is_share else str(cores)
