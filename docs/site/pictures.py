"""Makes the pictures of the status page anew: ``python -m docs.site.pictures``, as root on Linux.

A real daemon runs real experiments, in a place and under a host name that say nothing of who makes
them. Its cards are those of the tests' driver, its cores are more than most machines have, and what
it shows of earlier hours was written as a daemon of before would have left it.
"""

from __future__ import annotations

import io
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from PIL import Image
from playwright.sync_api import FloatRect, Page, expect, sync_playwright

from runner.lifecycle.history import Ending, History
from tests.acceptance.box import Box, until
from tests.servers.nvml import Card, Nvml, compiled

PICTURES = Path(__file__).parents[1] / "pictures"
HOST, TOP = "gpu-1", Path("/tmp/studio")  # noqa: S108 - whose it is nobody reads in a picture
CORES, GB = 16, 1_000_000_000
#: How many experiments ended in each hour of the day before.
ENDED = (0, 2, 5, 3, 0, 0, 4, 6, 8, 7, 5, 8, 6, 4, 2, 1, 3, 2, 0, 1, 4, 3, 2)


class Look(NamedTuple):
    """One picture."""

    name: str
    scheme: Literal["light", "dark"]
    width: int
    #: At most.
    height: int
    #: With an output that is being followed.
    is_open: bool


LOOKS = (
    Look("page-top", "light", 1360, 1112, is_open=False),  # README's
    Look("page-light", "light", 1360, 2450, is_open=True),
    Look("page-dark", "dark", 1360, 2200, is_open=False),
    Look("page-phone", "light", 390, 1400, is_open=True),
)
#: Learns for a while, and says how it gets on.
LEARNS = """
import math, random, sys, time
rate = float(sys.argv[1])
kept = b"x" * int(20_000_000 / rate ** 0.75)
print(f"1437 digits to learn from, 360 to be asked; learning rate {rate}", flush=True)
for epoch in range(1, 1000):
    loss = 2.3 * math.exp(-epoch * rate) + 0.08 + random.random() / 50
    print(f"epoch {epoch:3}  loss {loss:.3f}  right {1 - loss / 2.6:.1%}", flush=True)
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        pass
    time.sleep(0.7)
"""
#: What ends before the picture is made: its key, its script, and what is special about it.
ENDS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("digits_rate_0.3", "print('accuracy 0.964')", {}),
    ("digits_rate_1", "raise ValueError('the loss is not a number')", {}),
    ("digits_depth_40", "kept = b'x' * (900 << 20)\nimport time\ntime.sleep(60)", {}),
    ("digits_slow", "import time\ntime.sleep(60)", {"max_duration": "2s"}),
    ("digits_rate_0.2", "print('accuracy 0.971')", {}),
)
CARD: Mapping[str, Any] = {"cpus": 4, "gpus": 1, "gpuMem": "30g", "ram": "4g", "hdd": "10g"}


def main() -> None:
    """Make them all."""
    TOP.mkdir()
    try:
        with tempfile.TemporaryDirectory() as folder, Box(TOP) as box:
            driver = Nvml(compiled(Path(folder)), Path(folder) / "cards")
            _take_all(box, _staged(box, driver, Path(folder)))
    finally:
        shutil.rmtree(TOP)


# ---------------------------------------------------------------------- what is seen


def _staged(box: Box, driver: Nvml, folder: Path) -> list[str]:
    """Have everything happen; return the keys of what runs."""
    _remember(box)
    (box.queues / "local_test").rename(box.queues / "local_digits")
    (box.queues / "local_language").mkdir()
    driver.cards = [
        Card("NVIDIA A100-SXM4-40GB", "GPU-6f2c81d0"),
        Card("NVIDIA A100-SXM4-40GB", "GPU-93ab07e5"),
        Card("NVIDIA L4", "GPU-1d44be72"),
        Card("Tesla T4", "GPU-c05f9a38", ecc=2),
    ]
    _start(box, driver, folder)
    for key, script, fields in ENDS:
        box.publish(box.message(script, key=key, project="digits", **fields), "local_digits")
        box.ended(key)
    running = [
        _begin(box, f"digits_rate_{rate}", rate, "digits", CARD) for rate in ("0.01", "0.02")
    ]
    for card, busy, used in (("GPU-6f2c81d0", 93, 31), ("GPU-93ab07e5", 88, 22)):
        driver.change(card, utilization=busy, used=used * GB, temperature=67, power=312_000)
    small = {"cpus": 2, "gpus": 0, "ram": "2g", "hdd": "5g"}
    running.append(_begin(box, "digits_rate_0.04", "0.04", "digits", small))
    two = {**CARD, "gpus": 2}
    waits = box.message(LEARNS, key="words_big", project="language", resources_needed=two)
    box.publish(waits, "local_language")
    for rate in ("0.05", "0.06"):
        more = box.message(LEARNS, key=f"words_{rate}", project="language", resources_needed=two)
        box.publish(more, "local_language")
    return running


def _start(box: Box, driver: Nvml, folder: Path) -> None:
    code = f"import os\nos.sched_getaffinity = lambda _: set(range({CORES}))\n"
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    box.start(
        *("--gpu-look", "200ms", "--max-cores", str(CORES)),
        variables={**driver.variables, "PYTHONPATH": str(folder)},
        wrapper=["unshare", "--uts", "sh", "-c", f'hostname {HOST} && exec "$@"', "sh"],
    )


def _begin(box: Box, key: str, rate: str, project: str, needs: Mapping[str, Any]) -> str:
    message = box.message(
        LEARNS, key=key, project=project, args=[rate], resources_needed=needs, max_duration="2h"
    )
    box.publish(message, "local_digits")
    until(lambda: f"{key} is running" in box.log() or None, f"{key} running", box.log)
    return key


def _remember(box: Box) -> None:
    """Write what ended before, as a daemon does."""
    box.state.mkdir(mode=0o700)
    history = History(box.state / "recent.jsonl")
    hour = time.time() // 3600 * 3600
    for ago, count in zip(range(len(ENDED), 0, -1), ENDED, strict=True):
        for number in range(count):
            cause, code = ("exit", 1) if number == ago % 8 else ("completed", 0)
            key = f"digits_sweep_{ago:02}{number:02}"
            ended = hour - ago * 3600 + number * 400
            history.add(
                Ending(
                    *(key, "local_digits", "digits", 1, cause, code, "", "acked"), ended, 260 + ago
                )
            )


# ---------------------------------------------------------------------- how it is taken


def _address(box: Box) -> str:
    return box.log().partition('"url": "')[2].partition('"')[0]


def _take_all(box: Box, keys: list[str]) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        for look in LOOKS:
            page = browser.new_page(
                viewport={"width": look.width, "height": 900}, color_scheme=look.scheme
            )
            page.goto(_address(box))
            _take(page, look, keys[0])
            page.close()
        browser.close()


def _take(page: Page, look: Look, key: str) -> None:
    expect(page.get_by_role("listitem", name=key)).to_contain_text("of 4 cores", timeout=60_000)
    if look.is_open:
        page.get_by_role("button", name=f"Live output of {key}").click()
        expect(page.get_by_role("log")).to_contain_text("epoch", timeout=60_000)
        page.mouse.move(0, 0)
    _look_for_names(page)
    height = min(look.height, page.evaluate("document.documentElement.scrollHeight"))
    clip: FloatRect = {"x": 0, "y": 0, "width": look.width, "height": height}
    taken = Image.open(io.BytesIO(page.screenshot(full_page=True, clip=clip)))
    few = taken.convert("RGB").quantize(96, dither=Image.Dither.NONE)
    few.save(PICTURES / f"{look.name}.png", optimize=True)


def _look_for_names(page: Page) -> None:
    """Raise SystemExit where something of the machine, or of who sits at it, is seen."""
    text = page.locator("body").inner_text()
    for word in (str(Path.home()), str(Path(__file__).parents[2]), platform.node()):
        if re.search(rf"\b{re.escape(word.lstrip('/'))}\b", text):
            raise SystemExit(f"{word} is seen in the picture")


if __name__ == "__main__":
    main()
