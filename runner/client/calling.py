"""Functions as experiments: what is packed beside their file so that a runner can call them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runner.errors import Misconfigured

#: In the packed workspace alone.
SCRIPT = "_studio_runner_call.py"

_CODE = '''\
"""Calls the function of an experiment with its parameters, and prints what it returns."""

import importlib.util
import json
import sys
import types


class NotHere(Exception):
    """Stands for whatever a file imports from studio-runner in order to submit."""

    def __init__(self, *args, **options):
        super().__init__("studio-runner is not installed where the experiment runs")

    def __enter__(self):
        raise self


def stand_in(name):
    if name.startswith("_"):
        raise AttributeError(name)
    return NotHere


def main(file, name, parameters):
    if importlib.util.find_spec("runner") is None:
        for part in ("runner", "runner.client", "runner.errors"):
            sys.modules[part] = types.ModuleType(part)
            sys.modules[part].__getattr__ = stand_in
    spec = importlib.util.spec_from_file_location("experiment", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["experiment"] = module
    spec.loader.exec_module(module)
    returned = getattr(module, name)(**json.loads(parameters))
    if returned is not None:
        document = returned if isinstance(returned, dict) else {"returned": returned}
        print("\\n" + json.dumps(document), flush=True)


main(*sys.argv[1:4])
'''


def added() -> Mapping[str, bytes]:
    """Return the files that the workspace needs besides its own."""
    return {SCRIPT: _CODE.encode()}


def words(function: Callable[..., Any], workspace: Path) -> list[str]:
    """Return script and first arguments; the parameters follow. Raises Misconfigured."""
    name = getattr(function, "__qualname__", repr(function))
    nowhere = f"{name} is not in a file of {workspace}: runners get no other"
    try:
        # A decorated function is found by its name, decorated; its file is its own.
        source = inspect.getsourcefile(inspect.unwrap(function))
        place = Path(source or "").resolve().relative_to(workspace.resolve()).as_posix()
    except (TypeError, ValueError) as error:
        raise Misconfigured(nowhere) from error
    if source is None:  # typed in, as in a notebook
        raise Misconfigured(f"{nowhere}; write the function into a file there, and import it")
    if not name.isidentifier():
        raise Misconfigured(
            f"{name} is not at the top of {place}: a runner could not find it there"
        )
    return [SCRIPT, place, name]


def parameters(point: Mapping[str, Any]) -> str:
    """Write a point as the function gets it. Raises Misconfigured for what JSON has not."""
    try:
        return json.dumps(dict(point))
    except (TypeError, ValueError) as error:
        raise Misconfigured(f"the parameters {dict(point)!r} are no JSON: {error}") from error
