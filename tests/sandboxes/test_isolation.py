"""What a hostile experiment is kept from, in each sandbox, is what ``docs/isolation.md`` says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import pytest

from tests.acceptance.box import until
from tests.sandboxes.hostile import HOSTILE, NEIGHBOUR
from tests.trust.boxes import MARK, TrustBox, trust_box

DOCUMENT = Path(__file__).parents[2] / "docs" / "isolation.md"
#: The document's columns: the sandbox, and who the daemon is.
COLUMNS = {
    "plain, root": ("plain", "another user"),
    "plain, user": ("plain", "ordinary user"),
    "bwrap, root": ("bwrap", "another user"),
    "bwrap, user": ("bwrap", "ordinary user"),
}
_LEFT = "leave files in /tmp"
_LINGERS = "survive by double fork and setsid"


def table() -> dict[str, dict[str, str]]:
    """Return the document's table: what is tried, and by column how it goes."""
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    header = next(row for row in rows if row[1:] == list(COLUMNS))
    start = rows.index(header) + 2
    found = {}
    for row in rows[start:]:
        if len(row) != len(header):
            break
        found[row[0]] = dict(zip(header[1:], row[1:], strict=True))
    return found


def tried(box: TrustBox, sandbox: str) -> dict[str, bool]:
    """Let a hostile experiment loose beside another one; return what it succeeded in."""
    credential = planted(box.root / "certs" / ".spare" / "credentials")
    home = planted(box.root / "notes")
    cache, left = box.root / "cache", Path(f"/tmp/{box.root.name}-left")  # noqa: S108 - it is tried
    box.begin(
        *("--certs-dir", str(box.root / "certs"), "--cache-dir", str(cache)),
        *("--sandbox", sandbox),
        PLANTED=f"{MARK}environment",
    )
    message = box.message(NEIGHBOUR)
    message["config"]["env"] = {"TOKEN": f"{MARK}token"}
    box.publish(message)
    until(lambda: "begun" in box.live_output() or None, "the neighbour", box.log)
    (mine,) = (box.state / "work" / "experiments").glob("*/modeldir/mine")
    lingers = f"lingers-{box.root.name}"
    plan = {
        "credentials": [str(credential)],
        "home": str(home),
        "neighbour": str(mine),
        "cache": str(cache),
        "left": str(left),
        "lingers": lingers,
    }
    seen = box.seen(box.submit(HOSTILE, args=[MARK[:4], MARK[4:], json.dumps(plan)]))
    seen[_LEFT] = left.exists()
    left.unlink(missing_ok=True)
    seen[_LINGERS] = any(lingers in named(process) for process in psutil.process_iter())
    return dict(seen)


def planted(path: Path) -> Path:
    """Make a file that everybody may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{MARK}{path.name}\n")
    path.chmod(0o644)
    return path


def named(process: psutil.Process) -> str:
    """Return a process's command; empty when it has just gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be two kinds of user")
@pytest.mark.service("bwrap")
@pytest.mark.parametrize("column", COLUMNS)
def test_a_hostile_experiment_is_kept_from_what_the_document_says(column: str) -> None:
    """Neither more nor less: what is not prevented is said, too."""
    sandbox, mode = COLUMNS[column]
    with trust_box(mode) as box:
        seen = tried(box, sandbox)
    found = {what: "not prevented" if could else "prevented" for what, could in seen.items()}
    assert found == {what: cells[column] for what, cells in table().items()}
