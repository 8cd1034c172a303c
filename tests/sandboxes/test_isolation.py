"""What a hostile experiment is kept from, in each sandbox, is what ``docs/isolation.md`` says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner.supervisor import fence
from tests.passage import open_to_all
from tests.sandboxes.hostile import Ordeal
from tests.trust.boxes import trust_box

DOCUMENT = Path(__file__).parents[2] / "docs" / "isolation.md"
#: The row that takes Linux 6.12, as the document says.
OF_LANDLOCK = "reach the machine's services by sockets without a file"
#: The document's columns: the sandbox, and who the daemon is.
COLUMNS = {
    "plain, root": ("plain", "another user"),
    "plain, user": ("plain", "ordinary user"),
    "bwrap, root": ("bwrap", "another user"),
    "bwrap, user": ("bwrap", "ordinary user"),
    "apptainer, root": ("apptainer", "another user"),
    "apptainer, user": ("apptainer", "ordinary user"),
}
SERVICES = {
    "apptainer": [pytest.mark.service("apptainer")],
    "bwrap": [pytest.mark.service("bwrap")],
    "plain": [],
}


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


def tried(column: str, image: Path | None) -> dict[str, bool]:
    """Let hostile experiments loose beside another one; return what they succeeded in."""
    sandbox, mode = COLUMNS[column]
    with trust_box(mode) as box, Ordeal(box, sandbox, image) as ordeal:
        ordeal.begin()
        return {
            **ordeal.of_run(),
            **ordeal.of_build(),
            **ordeal.of_output(),
            **ordeal.of_orphan(),
            **ordeal.of_hunger(),
            **ordeal.of_everybody(),
        }


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be two kinds of user")
@pytest.mark.parametrize(
    "column",
    [pytest.param(name, marks=SERVICES[sandbox]) for name, (sandbox, _) in COLUMNS.items()],
)
def test_a_hostile_experiment_is_kept_from_what_the_document_says(
    column: str, request: pytest.FixtureRequest
) -> None:
    """Neither more nor less: what is not prevented is said, too."""
    image = None
    if COLUMNS[column][0] == "apptainer":
        image = request.getfixturevalue("image")
        open_to_all(image)  # once more: another session of pytest closes the way
    found = {what: _word(could=could) for what, could in tried(column, image).items()}
    said = {what: cells[column] for what, cells in table().items()}
    if not fence.keeps_apart():
        said[OF_LANDLOCK] = _word(could=True)
    assert found == said


def _word(*, could: bool) -> str:
    return "not prevented" if could else "prevented"
