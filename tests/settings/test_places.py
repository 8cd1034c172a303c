"""Where defaults lie, for users of all kinds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner.settings.places import Places

#: No distribution gives it to anybody.
_NAMELESS = 64_997


def test_home_is_that_of_the_user_where_nothing_names_it() -> None:
    """As in a service without a login."""
    assert Places({}, root=False).home.is_absolute()


def test_a_variable_names_the_home() -> None:
    """It wins over what the machine knows."""
    assert Places({"HOME": "/data/ann"}, root=False).home == Path("/data/ann")


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to become another user")
def test_a_user_whom_nobody_knows_has_a_home() -> None:
    """Clusters run containers under numbers of their own choice, at times without ``HOME``."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setresuid(_NAMELESS, _NAMELESS, _NAMELESS)
            code = 0 if Places({}, root=False).home == Path("/") else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
