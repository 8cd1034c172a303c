"""Experiments that print without end: bounded on disk, in the store and in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.box import Box

LIMIT = 1 << 20
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """One machine and one daemon, which keeps a mebibyte of each output."""
    with Box(tmp_path_factory.mktemp("floods")) as box:
        box.start("--output-limit", "1mib")
        yield box


FLOODS = {
    "many lines": ("line = 'y' * 99 + '\\n'\nfor _ in range(200): write(line * 10_000)", 2 * 10**8),
    "one line": ("for _ in range(100): write('x' * 1_000_000)", 100_000_000),
    "one line like JSON": ("write('{')\nfor _ in range(100): write('x' * 1_000_000)", 100_000_001),
}


@pytest.mark.parametrize("case", FLOODS)
def test_a_flood_is_cut_to_its_first_and_last_part(box: Box, case: str) -> None:
    """What is stored says how much is missing; daemon and supervisor stay small."""
    script, total = FLOODS[case]
    key = box.submit(
        "import sys\nwrite = sys.stdout.write\n"
        f"print('the first line')\n{script}\nprint('\\nthe last line')\n"
    )
    assert box.outcome(key)["cause"] == "completed"
    output = box.stored(key, "output")
    assert LIMIT * 9 // 10 < len(output) < LIMIT + 1000
    assert output.startswith(b"the first line\n")
    assert output.endswith(b"the last line\n")
    said = b"[studio-runner: of this output only the first and the last part are kept"
    assert output.count(said) == 1
    left_out = int(output.partition(b" bytes were left out here]")[0].rpartition(b"; ")[2])
    kept = len(output.replace(b"\n[studio-runner", b"[studio-runner"))
    written = len("the first line\n") + total + len("\nthe last line\n")
    assert abs(left_out + kept - written) < 200
    assert box.peak_memory() < 200 * MEGABYTE


def test_after_all_of_that_the_daemon_is_well(box: Box) -> None:
    """A good experiment still completes, nothing is left behind, and the log has no traceback."""
    key = box.submit("print('here')")
    assert box.outcome(key)["cause"] == "completed"
    assert box.output(key) == "here\n"
    box.wait_until_clean()
    assert box.complaints() == []
