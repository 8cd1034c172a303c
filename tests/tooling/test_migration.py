"""The migration page answers every option and database that somebody comes with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.settings.test_precedence import ORIGINAL

_PAGE = (Path(__file__).parents[2] / "docs/migration.md").read_text()
_VARIABLES = ("LOGXI", "LOGXI_FORMAT", "LOGXI_COLORS", "CUDA_VISIBLE_DEVICES", "TMPDIR", "HOSTNAME")
_WORKER = ("--queue", "--config", "--timeout", "--single-run", "--guest", "--verbose")
_DATABASES = ("firebase", "http", "gs", "s3", "local")


@pytest.mark.parametrize("name", [*ORIGINAL, *_VARIABLES, *_WORKER, *_DATABASES])
def test_the_page_has_an_answer(name: str) -> None:
    """Each name stands there as code, alone or with its value."""
    assert re.search(rf"`{re.escape(name)}(?:[ =][^`]*)?`", _PAGE), f"no word about {name}"
