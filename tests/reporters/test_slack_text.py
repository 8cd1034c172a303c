"""What Slack is sent keeps Slack's limits, and nothing in it can mark up, link or call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runner.model import Cause, News, Report, Result
from runner.reporters.slack_cards import (
    Card,
    Course,
    details_card,
    experiment_card,
    host_card,
    spoken,
    whole_card,
)
from runner.reporters.slack_text import MESSAGE, code, escaped

TEXTS = st.one_of(st.text(), st.text(alphabet="&<>`*_~\n@!|# ", max_size=5000))
RESULTS = st.builds(
    Result,
    outcome=st.sampled_from(["completed", "failed", "refused", "deferred", "stopped"]),
    settled=st.sampled_from(["acked", "released", "buried"]),
    detail=TEXTS,
    advice=TEXTS,
    exit_code=st.none() | st.integers(),
    seconds=st.floats(0, 1e9),
    output=st.lists(TEXTS, max_size=30).map(tuple),
)
REPORTS = st.builds(
    Report,
    news=st.sampled_from(News),
    text=TEXTS,
    queue=TEXTS,
    key=TEXTS,
    project=TEXTS,
    attempt=st.integers(0, 10**6),
    cause=st.none() | st.sampled_from(Cause),
    metrics=st.dictionaries(TEXTS, st.floats(), max_size=60),
    result=st.none() | RESULTS,
)
ENTITY = re.compile(r"&(amp|lt|gt);")


def texts(value: Any) -> Iterator[str]:
    """Return all texts inside of blocks."""
    if isinstance(value, dict):
        for name, member in value.items():
            if name == "text" and isinstance(member, str):
                yield member
            yield from texts(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from texts(member)


def check(card: Card) -> None:
    """Assert what Slack demands of a message, and what we demand of its texts."""
    assert 0 < len(card.text) <= 1000
    assert 0 < len(card.blocks) <= 50
    for block in card.blocks:
        limit = 3000 if "text" in block else 2000
        assert all(0 < len(text) <= limit for text in texts(block))
        assert all(len(block.get(part, [1])) in range(1, 11) for part in ("fields", "elements"))
    assert sum(map(len, texts(card.blocks))) <= MESSAGE
    for text in (card.text, *texts(card.blocks)):
        assert not set("<>") & set(text)
        assert "&" not in ENTITY.sub("", text)


@given(REPORTS, st.integers(0, 10**6))
def test_every_report_makes_messages_that_slack_takes(report: Report, stored: int) -> None:
    """Whatever a message, an experiment or a server wrote, the news of it is no bad request."""
    check(host_card(report, "gpu-1"))
    check(experiment_card(report, "gpu-1", Course(stored)))
    check(details_card(report))
    check(whole_card(report, "gpu-1"))


def test_the_longest_result_is_one_message() -> None:
    """Each part is cut so that all of them together are what Slack takes."""
    long = "x" * 9000
    result = Result("failed", "acked", long, long, 1, 1e9, (long,) * 30)
    ended = Report(
        News.ENDED,
        long,
        queue=long,
        key=long,
        project=long,
        attempt=10**6,
        cause=Cause.REQUIREMENTS,
        metrics={f"{number}{long}": -1.23456e-300 for number in range(60)},
        result=result,
    )
    check(host_card(ended, long))
    check(experiment_card(ended, long, Course(10**6)))
    check(details_card(ended))
    check(whole_card(ended, long))


def test_nobody_is_called_and_no_address_is_a_link() -> None:
    """Slack's own marks for that are escaped, and it is told to look for no others."""
    card = host_card(Report(News.WARNING, "<!channel> <@U1> <https://x|y> @here"), "gpu-1")
    (said, _) = card.blocks
    assert "&lt;!channel&gt; &lt;@U1&gt; &lt;https://x|y&gt; @here" in said["text"]["text"]
    assert said["text"]["verbatim"] is True


@given(TEXTS, st.integers(2, 60))
def test_a_cut_text_ends_with_whole_characters(text: str, limit: int) -> None:
    """An escape is never cut in two, and what fits is not cut."""
    shown = escaped(text, limit)
    assert len(shown) <= limit
    assert "&" not in ENTITY.sub("", shown)


def test_of_a_long_output_the_end_is_kept() -> None:
    """The last line is what tells why; a fence in the output does not end the block of code."""
    lines = [f"line {number}" for number in range(1000)]
    text = code([*lines, "```", "Traceback"])
    assert text.endswith("Traceback\n```")
    assert text.count("```") == 2
    assert len(text) <= 3000
    assert code([]) == code(["", " "]) == ""


def test_durations_are_said_as_people_say_them() -> None:
    """From a blink to weeks."""
    assert [spoken(s) for s in (0.04, 59.94, 61, 7384, 400000)] == [
        "0.0 s",
        "59.9 s",
        "1 min 01 s",
        "2 h 03 min",
        "111 h 06 min",
    ]
