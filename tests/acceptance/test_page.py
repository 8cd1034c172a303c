"""The status page in a real browser, with a real daemon behind it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, expect, sync_playwright

from tests.acceptance.box import PATIENCE, Box, until

pytestmark = pytest.mark.service("browser")

TOKEN = "a-token-that-nobody-guesses"
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the system's Chromium; as root it has no sandbox of its own."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        yield launched
        launched.close()


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

    def start(self) -> subprocess.Popen[bytes]:
        """Start the daemon; of who is not root it wants a token."""
        if os.geteuid() == 0:
            return self.box.start()
        self.token = TOKEN
        return self.box.start("--web-token", TOKEN)

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


def _prints(box: Box, **fields: str) -> tuple[str, Path]:
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
        "aria-valuetext", re.compile(r" of 10 min$")
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
