"""A program of ours is copied whole, however many want the copy at the same time."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

from runner.environments.copying import copied


def test_many_may_want_the_first_copy_at_once(tmp_path: Path) -> None:
    """As the first experiments with images of a new machine do; none gets half of it."""
    program, copy = tmp_path / "program", tmp_path / "inside" / "program"
    program.write_bytes(os.urandom(1 << 20))
    barrier, trouble = threading.Barrier(8), list[BaseException]()

    def want() -> None:
        barrier.wait()
        try:
            assert copied(program, copy).read_bytes() == program.read_bytes()
        except BaseException as error:  # noqa: BLE001 - the thread would keep it
            trouble.append(error)

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == []
    assert [path.name for path in copy.parent.iterdir()] == ["program"]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o755
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o755


def test_a_newer_program_is_copied_anew_and_the_same_one_not(tmp_path: Path) -> None:
    """Whoever runs the old copy keeps it."""
    program, copy = tmp_path / "program", tmp_path / "copy"
    program.write_bytes(b"one")
    copied(program, copy)
    first = copy.stat().st_ino
    copied(program, copy)
    assert copy.stat().st_ino == first
    with copy.open("rb") as old:
        program.write_bytes(b"two, which is longer")
        assert copied(program, copy).read_bytes() == b"two, which is longer"
        assert old.read() == b"one"
