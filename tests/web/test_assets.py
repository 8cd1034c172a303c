"""The files of the status page, and what keeps others from using it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runner.web import assets
from runner.web.assets import HEADERS, Assets
from runner.web.guard import Policy
from runner.web.message import Request
from runner.web.site import Site

pytestmark = pytest.mark.anyio

FOLDER = Path(assets.__file__).with_name("page")
LOCAL = Policy(is_local=True)
#: What takes text for HTML or for code, or reaches another machine.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|DOMParser"
    r"|createContextualFragment|srcdoc|setHTML|https?://(?!www\.w3\.org/2000/svg)"
)


async def test_every_file_is_given_with_headers_that_let_nothing_else_run() -> None:
    """No script but these, no frame around the page, no word to other sites."""
    site = Site(Assets().pages)
    for path in ("/", *(f"/page/{file.name}" for file in FOLDER.glob("*.[jcs]*"))):
        answer = await site.answer(Request("GET", path), LOCAL)
        assert answer.status == 200, path
        assert dict(answer.headers) == dict(HEADERS)
    assert (await site.answer(Request("GET", "/page/index.html"), LOCAL)).status == 404
    policy = HEADERS["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


async def test_no_path_leads_out_of_the_folder() -> None:
    """Only what was listed is ever read."""
    site = Site(Assets().pages)
    for path in ("/page/../guard.py", "/page/%2e%2e/guard.py", "/page/", "/page//etc/passwd"):
        assert (await site.answer(Request("GET", path), LOCAL)).status == 404


def test_nothing_in_the_page_takes_text_for_html() -> None:
    """What messages say is text, whoever changes the page next."""
    for file in FOLDER.glob("*.js"):
        assert not FORBIDDEN.search(file.read_text()), file.name


def test_the_page_holds_no_script_and_no_style_of_its_own() -> None:
    """The policy would refuse them; nothing comes from another machine."""
    text = (FOLDER / "index.html").read_text()
    assert not re.search(r"<style|style=|\son\w+=|<script(?! type=\"module\" src=)", text)
    assert not re.search(r"(src|href)=\"(?![/#])", text)
    named = set(re.findall(r"/page/([\w.]+)", text))
    for file in FOLDER.glob("*.js"):
        named |= set(re.findall(r"from \"/page/([\w.]+)\"", file.read_text()))
    assert named == {file.name for file in FOLDER.iterdir()} - {"index.html"}
