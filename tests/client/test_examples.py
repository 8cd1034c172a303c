"""The examples in the docstrings of ``runner.client`` are true."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from runner.client import api, options, values
from tests.own_places import stand_in


@pytest.mark.parametrize("module", [api, options, values], ids=["api", "options", "values"])
def test_examples_show_what_happens(
    module: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are run in a directory with a script, where nobody runs a daemon."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    stand_in(tmp_path, monkeypatch)
    Path("train.py").write_text("print('hello')\n")
    Path("requirements.txt").write_text("")
    given = {name: getattr(module, name) for name in dir(module)}
    finder, running = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner()
    tried = 0
    for example in finder.find(module, extraglobs=given):
        tried += running.run(example).attempted
    assert tried
    assert running.summarize(verbose=False).failed == 0
