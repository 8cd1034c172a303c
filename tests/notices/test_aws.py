"""EC2's interruption notices, asked of a server that speaks IMDSv2."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.notices.asking import Answer
from runner.notices.aws import Aws, notice
from runner.notices.base import Service
from tests.contracts.notices import NoticeContract, watched
from tests.servers.metadata import Ec2, ec2
from tests.servers.process import free_ports

pytestmark = pytest.mark.anyio


class Soon(Aws):
    """Looks more often."""

    seconds = 0.01


@pytest.fixture
def server() -> Iterator[Ec2]:
    """The instance's metadata service."""
    with ec2() as server:
        yield server


def of(url: str) -> Aws:
    """Return what asks there."""
    return Soon({"AWS_EC2_METADATA_SERVICE_ENDPOINT": url})


class TestAws(NoticeContract):
    """EC2."""

    @pytest.fixture
    def service(self, server: Ec2) -> Service:
        """See the contract."""
        return of(server.url)

    @pytest.fixture
    def nowhere(self) -> Service:
        """See the contract."""
        return of(f"http://127.0.0.1:{free_ports(1)[0]}")

    @pytest.fixture
    def announce(self, server: Ec2) -> Callable[[], None]:
        """See the contract."""
        return lambda: server.announce(timedelta(minutes=2))

    @pytest.fixture
    def fail(self, server: Ec2) -> Callable[[], None]:
        """See the contract."""
        return lambda: setattr(server, "status", 503)


async def test_a_token_serves_for_many_questions_and_is_renewed(server: Ec2) -> None:
    """Version 1 is never spoken: nothing is asked without a token."""
    async with watched(of(server.url)) as heard:
        await heard.until(lambda _: len(heard.notices) >= 3)
        assert [one.method for one in server.asked].count("PUT") == 1
        server.tokens.clear()
        server.announce(timedelta(minutes=1))
        await heard.until(lambda told: told is not None)
    assert [one.method for one in server.asked].count("PUT") == 2
    asked = [one for one in server.asked if one.method == "GET"]
    assert all(one.headers["x-aws-ec2-metadata-token"] for one in asked)


async def test_a_recommendation_is_no_notice(
    server: Ec2, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is logged once."""
    server.recommend()
    async with watched(of(server.url)) as heard:
        await heard.until(lambda _: len(heard.notices) >= 4)
        assert set(heard.notices) == {None}
    assert capsys.readouterr().out.count("recommends a rebalance") == 1


@given(st.integers(-10_000, 10_000), st.integers(-(10**6), 10**6))
def test_what_is_left_goes_by_the_services_clock(left: int, skew: int) -> None:
    """Ours may be wrong; more than two minutes is not believed, and less than none is none."""
    now = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=skew)
    at = (now + timedelta(seconds=left)).strftime("%Y-%m-%dT%H:%M:%SZ")
    date = now.strftime("%a, %d %b %Y %H:%M:%S GMT")
    said = json.dumps({"action": "stop", "time": at})
    found = notice(Answer(200, {"date": date}, said))
    assert found is not None
    assert found.left == timedelta(seconds=min(max(left, 0), 120))
    assert found.said == "AWS will stop this spot instance"


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"action": "stop"}', '{"time": "soon"}'),
        '{"action": "stop", "time": "2026-11-22T08:22:00"}',
        pytest.param("[" * 50_000, id="deep"),
    ],
)
def test_a_notice_that_nobody_understands_is_a_notice(text: str) -> None:
    """The machine goes all the same."""
    found = notice(Answer(200, {}, text))
    assert found is not None
    assert found.left == timedelta(minutes=2)
