"""The page when things go wrong under it, and when there is very much to show."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from runner.web.message import Answer, document, sentence
from tests.web.stage import Stage, ending, running, staged, standing

pytestmark = pytest.mark.service("browser")

WIDE, PHONE = ViewportSize(width=1360, height=900), ViewportSize(width=390, height=844)
LONG = "x" * 300
#: Milliseconds; far more than anything here takes.
PATIENCE = 60_000
Opening = Callable[[str], Page]


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Serve the page."""
    with staged() as stage:
        yield stage


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opening]:
    """Return what opens a tab of its own; what the page says may take long on a busy machine."""
    pages: list[Page] = []
    expect.set_options(timeout=PATIENCE)

    def opening(url: str) -> Page:
        page = browser.new_page(viewport=WIDE)
        page.set_default_timeout(PATIENCE)
        pages.append(page)
        page.goto(url)
        return page

    yield opening
    for page in pages:
        page.close()


def look(page: Page) -> None:
    """Have the page look at once, as when its tab is turned to: the test need not wait."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<p>a proxy's own page", "text/html"),
        Answer(200, b'{"version": 1, "daemon": {"ho', "application/json"),
        document({"version": 2}),
        document({"version": 1, "daemon": {"host": "gpu-1"}}),
        sentence(503, "no answer was found within 10 seconds"),
    ],
    ids=["foreign", "cut", "of-another-version", "incomplete", "refused"],
)
def test_what_is_no_status_is_no_news(answer: Answer, stage: Stage, opened: Opening) -> None:
    """What was shown before does not pass for the present; and the next answer is believed."""
    page = opened(stage.url)
    expect(page.locator("#state")).to_have_text("claiming")
    stage.instead["/status.json"] = lambda _: answer
    look(page)
    expect(page.locator("#state")).to_have_text("no answer")
    expect(page.locator("#alarm")).to_contain_text("No news")
    stage.instead.clear()
    look(page)
    expect(page.locator("#state")).to_have_text("claiming")
    expect(page.locator("#alarm")).to_be_hidden()


def test_what_ends_above_leaves_the_others_where_they_are(stage: Stage, opened: Opening) -> None:
    """Neither the focus nor how far somebody has scrolled is lost."""
    stage.status["running"] = [running("first", since=1), running("second", since=2)]
    stage.output = "".join(f"line {number}\n" for number in range(500))
    page = opened(stage.url)
    page.get_by_role("button", name="Live output of second").press("Enter")
    output = page.get_by_role("log")
    expect(output).to_contain_text("line 499")
    output.evaluate("(box) => { box.scrollTop = 700; }")
    stage.status = {**stage.status, "running": stage.status["running"][1:]}
    look(page)
    expect(page.get_by_role("listitem", name="first")).to_have_count(0)
    expect(page.locator(":focus")).to_have_accessible_name("Live output of second")
    assert output.evaluate("(box) => box.scrollTop") == 700


def test_who_reads_what_ends_stays_where_he_is(stage: Stage, opened: Opening) -> None:
    """With the keyboard, that is: the focus goes to what runs, not to the top of the page."""
    stage.status["running"] = [running("only")]
    page = opened(stage.url)
    page.get_by_role("button", name="Live output of only").focus()
    stage.status = {**stage.status, "running": []}
    look(page)
    expect(page.get_by_text("Nothing runs at present.")).to_be_visible()
    expect(page.locator(":focus")).to_have_id("running")


def test_the_keyboard_stays_on_what_it_pressed(stage: Stage, opened: Opening) -> None:
    """Where the button has become its opposite, on that; and nothing is done twice meanwhile."""
    page = opened(stage.url)
    expect(page.locator("#state")).to_have_text("claiming")
    page.locator("#suspend").press("Enter")
    stage.status = standing(suspended_by=["the operator"])
    expect(page.locator("#state")).to_have_text("suspended")
    expect(page.locator(":focus")).to_have_id("resume")
    assert stage.done == ["/suspend"]


def test_escape_does_not_lead_past_the_token(opened: Opening) -> None:
    """However often it is pressed: there is nothing behind the question."""
    token = "sésame-à"  # its bytes are what counts
    with staged(token) as stage:
        page = opened(stage.url)
        field = page.get_by_label("Token", exact=True)
        expect(field).to_be_focused()
        for _ in range(4):
            page.keyboard.press("Escape")
        expect(field).to_be_visible()
        field.fill("guessed")
        page.keyboard.press("Enter")
        expect(page.get_by_text("That is not the token of this daemon.")).to_be_visible()
        field.fill(token)
        page.keyboard.press("Enter")
        expect(page.locator("#state")).to_have_text("claiming")


def test_a_browser_that_keeps_nothing_shows_the_page(browser: Browser) -> None:
    """Storage may be forbidden; then the token lives as long as the page."""
    with staged("sesame") as stage:
        page = browser.new_page()
        page.add_init_script(
            "Object.defineProperty(window, 'sessionStorage', "
            "{ get() { throw new DOMException('denied', 'SecurityError'); } });"
        )
        page.goto(stage.url)
        page.get_by_label("Token", exact=True).fill("sesame")
        page.keyboard.press("Enter")
        expect(page.locator("#state")).to_have_text("claiming")
        page.close()


def test_an_output_that_is_not_there_for_a_moment_goes_on(stage: Stage, opened: Opening) -> None:
    """As while a daemon begins that will adopt the run; the card stays, and so does its output."""
    stage.status["running"] = [running("adopted")]
    stage.output = "before\n"
    page = opened(stage.url)
    page.get_by_role("button", name="Live output of adopted").click()
    expect(page.get_by_role("log")).to_contain_text("before")
    stage.instead["/output.json"] = lambda _: sentence(404, "no such run is under way here")
    expect(page.get_by_text("no such run is under way here")).to_be_visible()
    stage.output = "before\nafter\n"
    stage.instead.clear()
    expect(page.get_by_role("log")).to_contain_text("after")


def test_what_is_being_copied_is_not_written_anew(stage: Stage, opened: Opening) -> None:
    """A text that is selected stays so, and the rest comes afterwards."""
    stage.status["running"] = [running("talks")]
    stage.output = "first\n"
    page = opened(stage.url)
    page.get_by_role("button", name="Live output of talks").click()
    output = page.get_by_role("log")
    expect(output).to_contain_text("first")
    output.evaluate("(box) => getSelection().selectAllChildren(box)")
    stage.output += "second\n"
    expect(page.get_by_text("It waits while text of it is selected.")).to_be_visible()
    assert page.evaluate("getSelection().toString()") == "first"
    page.evaluate("getSelection().removeAllRanges()")
    expect(output).to_have_text("first\nsecond\n", use_inner_text=True)


def test_no_more_outputs_are_followed_than_the_daemon_keeps(stage: Stage, opened: Opening) -> None:
    """With one more, each answer would begin anew what another one asks for next."""
    stage.status["running"] = [running(f"run {number}") for number in range(9)]
    page = opened(stage.url)
    buttons = page.get_by_role("button", name="Live output of")
    expect(buttons).to_have_count(9)
    for number in range(9):
        buttons.nth(number).click()
    expect(page.locator("[aria-expanded=true]")).to_have_count(8)
    expect(buttons.first).to_have_attribute("aria-expanded", "false")
    buttons.first.click()
    expect(buttons.first).to_have_attribute("aria-expanded", "true")
    expect(buttons.nth(1)).to_have_attribute("aria-expanded", "false")


def test_whoever_suspended_it_it_can_be_resumed(stage: Stage, opened: Opening) -> None:
    """The machine's fuse, too, listens to ``resume``: it probes at once."""
    stage.status = standing(suspended_by=["the host fuse"], waits="suspended by the host fuse")
    page = opened(stage.url)
    stage.instead["/resume"] = lambda _: document({"suspended_by": ["the host fuse"]})
    page.get_by_role("button", name="Resume claiming").click()
    expect(page.locator("#alarm")).to_have_text("It is still suspended by the host fuse.")
    assert stage.done == ["/resume"]


def test_what_has_the_same_name_is_shown_twice(stage: Stage, opened: Opening) -> None:
    """Two accounts may both have a queue that is left alone."""
    left = {"name": "mail", "broker": "rabbitmq", "why": "--queue-match does not take it"}
    stage.status = standing(passed_over=[left, left])
    page = opened(stage.url)
    page.get_by_text("2 queues left alone").click()
    expect(page.locator("#passed-over tbody tr")).to_have_count(2)


def test_very_much_is_shown_within_the_screen(stage: Stage, opened: Opening) -> None:
    """Sixteen runs, a hundred results, and names as long as anybody makes them."""
    card = {
        "uuid": f"GPU-{LONG}",
        "name": LONG,
        "parent": "",
        "memory": 1 << 34,
        "slots": 1,
        "used": 1 << 30,
        "utilization": 0.5,
        "temperature": 60,
        "power": 200,
        "free_slots": 0,
        "free_memory": 0,
        "held_by": [{"key": LONG, "queue": LONG, "phase": "running"}],
        "withheld": LONG,
    }
    queue = {"name": LONG, "broker": "sqs", "account": LONG, "waiting": 10**6, "running": 16}
    stage.status = standing(
        host=LONG,
        fuse=LONG,
        waits=LONG,
        gpus=[card],
        queues=[{**queue, "claimed": False, "why": LONG}],
        passed_over=[{"name": LONG, "broker": "sqs", "why": LONG}],
        sources=[
            {"origin": LONG, "broker": "sqs", "project": LONG, "state": "opening", "trouble": ""},
            {"origin": "b", "broker": "sqs", "project": LONG, "state": LONG, "trouble": LONG},
        ],
    )
    stage.output = LONG * 20
    stage.status["running"] = [
        running(
            f"{number}{LONG}", project=LONG, queue=LONG, account=LONG, image=LONG, phase=LONG,
            gpus=[card["uuid"]], run=f"run-{number}",
        )
        for number in range(16)
    ]  # fmt: skip
    causes = ("completed", "exit", LONG)
    stage.status["recent"] = [
        ending(f"{number}{LONG}", cause=causes[number % 3], detail=LONG, advice=LONG, project=LONG)
        for number in range(100)
    ]
    page = opened(stage.url)
    page.get_by_text("1 queue left alone").click()
    page.locator(".run .acts button").first.click()
    expect(page.get_by_role("log")).to_contain_text(LONG)
    for size in (WIDE, PHONE):
        page.set_viewport_size(size)
        expect(page.locator("#results tbody tr")).to_have_count(100)
        expect(page.locator(".run")).to_have_count(16)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        outside = page.evaluate(
            """() => [...document.querySelectorAll(".run *, .tile *, .top *, p")].filter((one) =>
                one.offsetParent && !one.closest(".scroll, .unseen, .output")
                && one.getBoundingClientRect().right > innerWidth).map((one) => one.outerHTML)"""
        )
        assert outside == []


def test_a_search_that_finds_nothing_says_so(stage: Stage, opened: Opening) -> None:
    """An empty table could as well be one that is still to come."""
    stage.status["recent"] = [ending("one"), ending("two", cause="exit", exit_code=1)]
    page = opened(stage.url)
    expect(page.locator("#results tbody tr")).to_have_count(2)
    page.get_by_label("Find").fill("three")
    expect(page.get_by_text("No result is like that.")).to_be_visible()
    page.get_by_label("Find").fill("")
    expect(page.locator("#results tbody tr")).to_have_count(2)


def test_what_has_no_room_yet_shows_no_share(stage: Stage, opened: Opening) -> None:
    """Neither "of 0 cores" nor "none asked for": it has asked, and waits."""
    nothing = {"cores": None, "memory": None, "disk": None}
    share = {"cores": 0, "memory": 0, "disk": 0, "started": None, "used": nothing}
    stage.status["running"] = [running("waits", phase="waiting for room", **share)]
    page = opened(stage.url)
    run = page.get_by_role("listitem", name="waits")
    expect(run.locator("dt")).to_have_text(["Time"])
    expect(run.locator("dd")).to_have_text(["not started yet"])


def test_a_refused_reload_is_told(stage: Stage, opened: Opening) -> None:
    """Beside what the fuse says, for as long as it counts."""
    stage.status = standing(fuse="3 failed in a row", not_reloaded="--listen is wrong")
    page = opened(stage.url)
    expect(page.locator("#alarm")).to_have_text(
        "The host fuse has blown: 3 failed in a row. "
        "Not reloaded, the options of before count: --listen is wrong."
    )


def test_the_browsers_clock_does_not_matter(stage: Stage, browser: Browser) -> None:
    """All times are told by the daemon's."""
    stage.status["running"] = [running("one")]
    stage.status["recent"] = [ending("two")]
    page = browser.new_page(timezone_id="Asia/Kathmandu")
    page.clock.install(time="2031-01-01T00:00:00Z")
    page.goto(stage.url)
    run = page.get_by_role("listitem", name="one")
    expect(run).to_contain_text("claimed 40 s ago")
    expect(run).to_contain_text("30 s of 10 min")
    expect(page.locator("#results td.when")).to_have_text(re.compile(r"^\d\d:\d\d$"))
    page.close()
