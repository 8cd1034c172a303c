"""A daemon that is suspended in its upload, and wakes up when another has published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.accounts import LocalAccount
from tests.acceptance.box import Box
from tests.acceptance.pair import Pair

#: So much to store, the first time, that a daemon can be stopped in the middle of it.
HEAVY = """
import os, pathlib
me = os.getcwd()
first = pathlib.Path({go!r})
if not first.exists():
    first.touch()
    with open('../modeldir/weights', 'wb') as file:
        for _ in range(300):
            file.write(os.urandom(1 << 20))
for label in ('modeldir', 'retval'):
    pathlib.Path('..', label, label).write_text(me)
print('begun', me)
print('done', me)
"""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Return two daemons of one local queue, not started yet."""
    with Box(tmp_path) as box:
        pair = Pair(box, LocalAccount(box))
        pair.account.write(pair.certs / "lab")
        yield pair


def test_who_wakes_up_in_his_upload_publishes_no_more_of_it(pair: Pair) -> None:
    """What he was in the middle of does not appear: it would replace the other one's results."""
    pair.start("state")
    needs = {"cpus": 1, "gpus": 0, "ram": "256m", "hdd": "1g"}
    key = pair.send(HEAVY, resources_needed=needs)
    ends = (pair.box.root / "state" / "runs").glob
    pair.until(lambda: list(ends("*/exit.json")) or None, "his upload")
    with pair.suspended("state"):
        assert pair.endings("state") == []
        pair.start("other")
        assert pair.box.outcome(key)["attempt"] == 2
        pair.until(lambda: pair.endings("other")[-1:] == [("completed", "acked")] or None, "acked")
        pair.check_published(key, "other")
        before = pair.stored(key)
    pair.until(lambda: pair.endings("state") or None, "his end")
    assert pair.endings("state")[0][0] == "lease-lost"
    assert pair.stored(key) == before
    pair.check_published(key, "other")
    pair.check_clean()
