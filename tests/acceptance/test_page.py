"""The status page in a real browser, with a real daemon behind it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, expect

from tests.acceptance.box import NOTHING, PATIENCE, Box, until
from tests.servers.nvml import Card, Nvml, Part

pytestmark = pytest.mark.service("browser")

TOKEN = "a-token-that-nobody-guesses"
#: What needs a card, and more of its memory than some have.
GPU = {"cpus": 1, "gpus": 1, "gpuMem": "20g", "ram": "256m", "hdd": "64m"}
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
#: Prints what would do harm as HTML, then a line for each that is in a file, and never ends.
PRINTS = """
import os, time
print({hostile!r}, flush=True)
said = 0
while True:
    lines = open({path!r}).read().splitlines() if os.path.exists({path!r}) else []
    for line in lines[said:]:
        print("\\x1b[31m" + line + "\\x1b[0m", flush=True)
    said = len(lines)
    time.sleep(0.05)
"""
WIDE, PHONE = ViewportSize(width=1360, height=900), ViewportSize(width=390, height=844)
#: The rules are tried with the first and the third of them: all colours, and both forms.
LOOKS: Sequence[tuple[Literal["light", "dark"], ViewportSize]] = (
    ("light", WIDE),
    ("dark", WIDE),
    ("dark", PHONE),
    ("light", PHONE),
)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """Make a machine."""
    with Box(tmp_path) as box:
        yield box


@dataclass
class Tab:
    """A tab that shows the page, and everything that the browser complained of."""

    page: Page
    url: str
    #: Entered before.
    token: str = ""
    complaints: list[str] = field(default_factory=list)

    def open(self) -> Page:
        """Show the page, and note every complaint from now on."""

        def heard(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"}:
                self.complaints.append(message.text)

        if self.token:
            kept = json.dumps(["studio-runner-token", self.token])
            self.page.add_init_script(f"sessionStorage.setItem(...{kept})")
        self.page.on("console", heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(self.url)
        return self.page


class Tabs:
    """Tabs on the daemon of a box; closed at the end."""

    def __init__(self, browser: Browser, box: Box) -> None:
        self.box = box
        self._browser = browser
        self._pages: list[Page] = []
        #: That tabs have from the beginning.
        self.token = ""

    def tab(self, *, bypass_csp: bool = False) -> Tab:
        """Return a new tab, with nothing that another one knows."""
        page = self._browser.new_page(viewport=WIDE, bypass_csp=bypass_csp)
        page.set_default_timeout(PATIENCE * 1000)
        self._pages.append(page)
        return Tab(page, until(self._url, "a listener", self.box.log), self.token)

    def start(
        self, *options: str, variables: Mapping[str, str] = NOTHING
    ) -> subprocess.Popen[bytes]:
        """Start the daemon; of who is not root it wants a token."""
        if os.geteuid() == 0:
            return self.box.start(*options, variables=variables)
        self.token = TOKEN
        return self.box.start("--web-token", TOKEN, *options, variables=variables)

    def close(self) -> None:
        """Close all."""
        for page in self._pages:
            page.close()

    def _url(self) -> str | None:
        found = re.search(r'"url": ?"(http://[^"]+)"', self.box.log())
        return found[1] if found else None


@pytest.fixture
def tabs(browser: Browser, box: Box) -> Iterator[Tabs]:
    """Give tabs; what a page says of time may take long on a busy machine."""
    expect.set_options(timeout=PATIENCE * 1000)
    found = Tabs(browser, box)
    yield found
    found.close()


def _prints(box: Box, **fields: object) -> tuple[str, Path]:
    lines = box.root / "lines"
    script = PRINTS.format(hostile=HOSTILE, path=str(lines))
    return box.submit(script, **fields), lines


def test_an_experiment_is_seen_followed_and_cancelled(box: Box, tabs: Tabs) -> None:
    """From nothing to its result, without a reload; nothing that it says is taken as HTML."""
    tabs.start()
    tab = tabs.tab()
    page = tab.open()
    expect(page.locator("#state")).to_have_text("claiming")
    expect(page.get_by_text("Nothing runs at present.")).to_be_visible()
    key, lines = _prints(box, project=HOSTILE)
    run = page.get_by_role("listitem", name=key)
    expect(run).to_contain_text("running")
    expect(run).to_contain_text(HOSTILE)
    expect(run.get_by_role("meter", name="Time")).to_have_attribute(
        "aria-valuetext", re.compile(r" of 10\smin$")
    )
    run.get_by_role("button", name="Live output").press("Enter")
    output = run.get_by_role("log")
    expect(output).to_have_text(f"{HOSTILE}\n", use_inner_text=True)
    lines.write_text("first\n")
    expect(output).to_contain_text("first\n")
    lines.write_text("first\nsecond\n")
    expect(output).to_contain_text("first\nsecond\n")
    run.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="No, leave it").click()
    expect(run).to_contain_text("running")
    run.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel it").click()
    row = page.get_by_role("row").filter(has_text=key)
    expect(row).to_contain_text("cancelled")
    expect(run).to_have_count(0)
    assert box.ended(key)["cause"] == "cancelled"
    assert page.locator("#main img, body script").count() == 0
    assert "owned" not in page.title()
    assert tab.complaints == []
    assert not box.complaints()


def test_claiming_is_suspended_and_resumed_and_the_daemon_is_drained(box: Box, tabs: Tabs) -> None:
    """What waits says why; a daemon that has ended as it was told to is no alarm."""
    daemon = tabs.start()
    tab = tabs.tab()
    page = tab.open()
    page.get_by_role("button", name="Suspend claiming").click()
    expect(page.locator("#state")).to_have_text("suspended")
    key = box.submit("print('hello')")
    queue = page.get_by_role("row").filter(has_text="local_test").first
    expect(queue).to_contain_text("suspended by the operator")
    page.get_by_role("button", name="Resume claiming").click()
    expect(page.get_by_role("row").filter(has_text=key)).to_contain_text("completed")
    expect(page.locator("#day")).to_contain_text("1 completed, 0 failed")
    assert tab.complaints == []
    held, _ = _prints(box)
    expect(page.get_by_role("listitem", name=held)).to_contain_text("running")
    page.get_by_role("button", name="Drain").click()
    page.get_by_role("dialog").get_by_role("button", name="Drain it").click()
    expect(page.locator("#state")).to_have_text("draining")
    page.get_by_role("button", name=f"Cancel {held}").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel it").click()
    assert daemon.wait(PATIENCE) == 0
    expect(page.locator("#state")).to_have_text("ended")
    expect(page.get_by_role("alert").filter(visible=True)).to_contain_text("has probably ended")


def test_a_killed_daemon_and_the_next_one_are_seen(box: Box, tabs: Tabs) -> None:
    """The page says that there is no news, and shows what was adopted; its output goes on."""
    daemon = tabs.start()
    tab = tabs.tab()
    page = tab.open()
    key, lines = _prints(box)
    run = page.get_by_role("listitem", name=key)
    expect(run).to_contain_text("running")
    box.kill(daemon)
    expect(page.locator("#state")).to_have_text("no answer")
    expect(run).to_be_visible()
    tabs.start("--listen", tab.url.removeprefix("http://"))
    expect(page.locator("#state")).to_have_text("claiming")
    run.get_by_role("button", name="Live output").click()
    lines.write_text("under the next one\n")
    expect(run.get_by_role("log")).to_contain_text("under the next one")
    run.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel it").click()
    row = page.get_by_role("row").filter(has_text=key)
    expect(row).to_contain_text("cancelled")
    assert not box.complaints()


def test_the_token_is_asked_for_and_kept_for_the_tab_alone(box: Box, tabs: Tabs) -> None:
    """A wrong one is said to be wrong; the right one outlives a reload, and no other tab has it."""
    token = box.root / "token"
    token.write_text(TOKEN)
    box.start("--web-token-file", str(token))
    page = tabs.tab().open()
    page.get_by_label("Token", exact=True).fill("guessed")
    page.keyboard.press("Enter")
    expect(page.get_by_text("That is not the token of this daemon.")).to_be_visible()
    page.get_by_label("Token", exact=True).fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_have_text("claiming")
    page.reload()
    expect(page.locator("#state")).to_have_text("claiming")
    page.get_by_role("button", name="Suspend claiming").click()
    expect(page.locator("#state")).to_have_text("suspended")
    stored = "JSON.stringify([document.cookie, Object.entries(localStorage)])"
    assert page.evaluate(stored) == '["",[]]'
    other = tabs.tab().open()
    expect(other.get_by_label("Token", exact=True)).to_be_focused()
    assert TOKEN not in box.log()


def test_everybody_can_read_it(box: Box, tabs: Tabs, tmp_path: Path) -> None:
    """Light and dark, wide and on a phone: no rule is violated, and nothing beside the screen."""
    failed = box.submit("raise SystemExit(3)")
    tabs.start()
    box.ended(failed)
    refused = box.publish_bytes(json.dumps({"experiment": {"key": HOSTILE}}).encode())
    key, _ = _prints(box)
    tab = tabs.tab(bypass_csp=True)  # for the rules' own script alone
    page = tab.open()
    page.get_by_role("button", name=f"Live output of {key}").click()
    expect(page.get_by_role("log")).to_contain_text(HOSTILE)
    expect(page.get_by_role("row").filter(has_text=refused)).to_contain_text("bad-request")
    for number, (scheme, size) in enumerate(LOOKS):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        if number % 2 == 0:
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
        shape = "wide" if size is WIDE else "phone"
        (tmp_path / f"{scheme}-{shape}.png").write_bytes(page.screenshot(full_page=True))
    assert tab.complaints == []


def test_the_keyboard_reaches_everything(box: Box, tabs: Tabs) -> None:
    """In the order of the page, the way past its head first; a question is left by Escape."""
    key, _ = _prints(box)
    tabs.start()
    page = tabs.tab().open()
    expect(page.get_by_role("listitem", name=key)).to_contain_text("running")
    names = ["Skip to what runs", "Suspend claiming", "Drain", f"Live output of {key}"]
    for name in names:
        page.keyboard.press("Tab")
        expect(page.locator(":focus")).to_have_accessible_name(name)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Cancel this experiment?")
    expect(page.locator(":focus")).to_have_text("No, leave it")
    page.keyboard.press("Escape")
    expect(page.locator(":focus")).to_have_accessible_name(f"Cancel {key}")
    expect(page.get_by_role("listitem", name=key)).to_contain_text("running")


@pytest.mark.service("nvml")
def test_every_card_is_shown_with_who_has_it_or_why_nobody_does(
    box: Box, tabs: Tabs, nvml: Nvml
) -> None:
    """One in use, one sick, one idle, and one in parts; what the driver says is seen to change."""
    nvml.cards = [
        Card("NVIDIA A10", "GPU-a10"),
        Card("Tesla T4", "GPU-t4", ecc=3),
        Card("NVIDIA H100 80GB HBM3", "GPU-h100"),
        Card("NVIDIA A100-SXM4-40GB", parts=[Part("1g.5gb", "MIG-b"), Part("2g.10gb", "MIG-c")]),
    ]
    tabs.start("--gpu-look", "50ms", variables=nvml.variables)
    tab = tabs.tab()
    page = tab.open()
    rows = {
        uuid: page.locator("#gpus").get_by_role("row").filter(has_text=uuid)
        for uuid in ("GPU-a10", "GPU-t4", "GPU-h100", "MIG-b", "MIG-c")
    }
    expect(page.locator("#gpus tbody tr")).to_have_count(len(rows))
    expect(page.locator("#machine")).to_contain_text("0 of 5")
    expect(rows["GPU-t4"]).to_contain_text("not given out")
    expect(rows["GPU-t4"]).to_contain_text("3 errors that could not be corrected")
    expect(rows["MIG-b"]).to_contain_text("NVIDIA A100-SXM4-40GB MIG 1g.5gb")
    expect(rows["GPU-h100"]).to_contain_text("free")
    key, _ = _prints(box, resources_needed=GPU)
    expect(rows["GPU-a10"]).to_contain_text(key)
    expect(page.locator("#machine")).to_contain_text("1 of 5")
    nvml.change("GPU-a10", utilization=87, used=8_000_000_000, temperature=71, power=143_000)
    cells = ["87 %", "8 GB of 24.1 GB", "71 °C143 W", key]
    expect(rows["GPU-a10"].get_by_role("cell")).to_have_text(cells)
    run = page.get_by_role("listitem", name=key)
    expect(run.get_by_role("meter", name="GPU 0")).to_have_attribute("aria-valuenow", "87")
    expect(run).to_contain_text("NVIDIA A10, 87 % busy, 8 GB of 24.1 GB")
    nvml.lose("GPU-h100")
    expect(rows["GPU-h100"]).to_contain_text("GPU is lost")
    nvml.change("GPU-t4", ecc=0)
    expect(rows["GPU-t4"]).to_contain_text("free")
    expect(page.locator("#machine")).to_contain_text("1 not given out")
    assert tab.complaints == []
    assert not box.complaints()
