"""The build of a package, which is other people's code, below a real daemon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.environments import packages
from tests.trust.boxes import MARK, STRANGER, TrustBox, trust_box
from tests.trust.test_what_experiments_see import Scene

#: Looks for what was planted in all that it can walk through, and says what it found.
SPY = """
mark, found = "".join([{first!r}, {second!r}]).encode(), []  # not in one piece, in bytecode either
for folder, _, names in os.walk({top!r}):
    for name in names:
        try:
            with open(os.path.join(folder, name), "rb") as file:
                if mark in file.read(1 << 20):
                    found.append(name)
        except OSError:
            pass
raise SystemExit("SEEN " + str(found) + " BY " + str(os.getuid()))
"""


@pytest.fixture
def box(request: pytest.FixtureRequest) -> Iterator[TrustBox]:
    """A machine of its own."""
    with trust_box(request.param) as box:
        yield box


@pytest.mark.parametrize("box", ["another user", "ordinary user", "root"], indirect=True)
def test_a_build_finds_no_credential_and_no_record(box: TrustBox) -> None:
    """Nor other people's messages, though some of it is open to everybody."""
    scene = Scene(box)
    shelf = box.root / "shelf"
    code = SPY.format(first=MARK[:4], second=MARK[4:], top=str(box.root))
    packages.source(shelf, "curious", code=code)
    packages.source(shelf, "handmade")
    box.begin(
        *("--certs-dir", str(box.root / "certs"), "--google-store-credentials", str(scene.key)),
        *("--webhook-secret-file", str(scene.hook), "--no-index", "--find-links", str(shelf)),
    )
    key = box.submit("print('never')", pythonenv=["curious==1.0"])
    assert box.outcome(key)["cause"] == "requirements"
    uid = 0 if box.mode == "root" else STRANGER
    assert f"SEEN [] BY {uid}" in box.output(key), box.output(key)
    key = box.submit("import handmade; print(handmade.VERSION)", pythonenv=["handmade==1.0"])
    assert box.outcome(key)["cause"] == "completed", box.output(key)
