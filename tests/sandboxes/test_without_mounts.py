"""Where nothing can be mounted, as in most containers, there is the fence around each run."""

from __future__ import annotations

import pytest

from runner.supervisor import fence
from tests.trust.boxes import NO_MOUNTS, trust_box

#: Ends all that it may end, and says whether there was anybody.
ENDS = """
import json, os, signal
own = os.getuid()
seen = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if pid != os.getpid()]
theirs = 0
for pid in seen:
    try:
        theirs += os.stat(f"/proc/{pid}").st_uid == own
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
try:
    os.kill(-1, signal.SIGKILL)
except OSError:
    pass
os.makedirs("../modeldir", exist_ok=True)
with open("../modeldir/seen", "w") as file:
    json.dump({"of its user": theirs}, file)
"""


@pytest.mark.skipif(not fence.keeps_apart(), reason="takes Linux 6.12 with Landlock")
def test_an_experiment_ends_no_other_of_its_user() -> None:
    """It sees them, for nothing hides them, and its signals reach nobody but what is its own."""
    with trust_box("another user") as box:
        daemon = box.begin("--sandbox", "plain", wrapper=NO_MOUNTS)
        go = box.root / "go"
        neighbour = box.submit_neighbour(go)
        assert box.seen(box.submit(ENDS))["of its user"] > 0
        go.touch()
        assert box.outcome(neighbour)["cause"] == "completed", box.output(neighbour)
        assert daemon.poll() is None
        box.wait_until_clean()
        assert box.complaints() == []
