"""What an operator is told of credentials."""

from __future__ import annotations

from dataclasses import replace

from runner.lifecycle.sources.standing import Standing, changes, complaints, topic
from runner.model import News

KEY = ("sqs", "eu-west-1")
FINE = Standing("aws/credentials")
BAD = replace(FINE, trouble="the key is not accepted")


def test_a_credential_that_comes_or_goes_is_news() -> None:
    """Each once, under the topic that its troubles are told under."""
    told = [
        (list(changes({}, {KEY: FINE})), "was added"),
        (list(changes({KEY: BAD}, {})), "is gone"),
    ]
    for reports, words in told:
        (report,) = reports
        assert report.news is News.CREDENTIALS_CHANGED
        assert words in report.text
        assert report.topic == topic("aws/credentials")
    assert list(changes({KEY: FINE}, {KEY: FINE})) == []


def test_trouble_is_over_when_the_broker_answers() -> None:
    """Its beginning is told by who meets it; a broker that was only closed does not work."""
    (report,) = changes({KEY: BAD}, {KEY: FINE})
    assert report.news is News.RECOVERED
    assert list(changes({KEY: FINE}, {KEY: BAD})) == []
    assert list(changes({KEY: BAD}, {KEY: replace(FINE, is_open=False)})) == []


def test_a_file_that_is_no_credential_is_told_until_it_is_mended() -> None:
    """Once for each thing that is wrong with it."""
    (first,) = complaints({}, {"/certs/x": "it is empty"})
    assert first.news is News.WARNING
    assert "/certs/x: it is empty" in first.text
    assert list(complaints({"/certs/x": "it is empty"}, {"/certs/x": "it is empty"})) == []
    (second,) = complaints({"/certs/x": "it is empty"}, {"/certs/x": "it is no JSON"})
    assert "no JSON" in second.text
    (over,) = complaints({"/certs/x": "it is no JSON"}, {})
    assert (over.news, over.topic) == (News.RECOVERED, first.topic)
