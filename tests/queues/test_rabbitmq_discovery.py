"""Which queues of RabbitMQ are found, with which rights, and what is said where one is missing."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from runner.errors import Misconfigured, QueueDenied, QueueUnavailable
from runner.queues.rabbitmq import RabbitBroker
from tests.contracts.queues import PATIENCE, body_of, received
from tests.queues.rabbitmq_case import broker_of, credential, declared, options
from tests.servers.process import free_ports
from tests.servers.rabbitmq import RabbitServer

pytestmark = [pytest.mark.anyio, pytest.mark.service("rabbitmq")]


@pytest.fixture
def name(rabbit_server: RabbitServer) -> str:
    """Return the name of a queue that is there."""
    return declared(rabbit_server)


@pytest.fixture
async def broker(rabbit_server: RabbitServer, tmp_path: Path) -> AsyncIterator[RabbitBroker]:
    """Return a broker that may list."""
    async with broker_of(rabbit_server, tmp_path) as broker:
        yield broker


async def first_of(broker: RabbitBroker) -> frozenset[str]:
    """Return what discovery yields first."""
    async with aclosing(broker.discover()) as sets:  # type: ignore[type-var]
        with anyio.fail_after(PATIENCE):
            return await anext(sets)


def foreign(server: RabbitServer) -> str:
    """Make a queue that no StudioML client would bind, and return its name."""
    name = f"rmq_{secrets.token_hex(4)}"
    server.ask("PUT", f"queues/%2F/{name}", {"durable": False})
    return name


async def test_only_what_is_bound_to_studiomls_exchange_is_found(
    rabbit_server: RabbitServer, broker: RabbitBroker, name: str
) -> None:
    """Other people's queues are not even seen; those of other names are left, and told of."""
    other, reports = f"their_{secrets.token_hex(4)}", f"rmq_{secrets.token_hex(4)}_response"
    rabbit_server.declare(other)
    rabbit_server.declare(reports)
    stranger = foreign(rabbit_server)
    found = await first_of(broker)
    assert name in found
    assert not {other, reports, stranger} & found
    assert {other, reports} <= broker.left
    assert stranger not in broker.left


async def test_parking_queues_are_never_found(broker: RabbitBroker, name: str) -> None:
    """What runners make for themselves is nobody's queue of experiments."""
    queue = await broker.open(name)
    await queue.publish(body_of(1))
    delivery = await received(queue)
    assert not any(one.startswith("studio-runner.") for one in await first_of(broker))
    assert not any(one.startswith("studio-runner.") for one in broker.left)
    await delivery.ack()


async def test_a_user_without_the_tag_is_told_so(
    rabbit_server: RabbitServer, tmp_path: Path
) -> None:
    """The sentence names the user, the tag and the way around."""
    user = rabbit_server.user("secret", tags="")
    url = rabbit_server.url_for(user, "secret")
    async with RabbitBroker(
        credential(url, management=rabbit_server.management_url), options(tmp_path)
    ) as broker:
        with pytest.raises(QueueDenied, match=rf"'{user}'.*'management'.*--queue"):
            await first_of(broker)


async def test_few_rights_are_enough(
    rabbit_server: RabbitServer, broker: RabbitBroker, name: str, tmp_path: Path
) -> None:
    """Those that docs/permissions.md gives: every kind of settling works with them."""
    user = rabbit_server.user(
        "secret",
        configure=r"^studio-runner\.",
        write=r"^amq\.default$",
        read=r"^(studio-runner\..*|rmq_.*)$",
    )
    least = credential(
        rabbit_server.url_for(user, "secret"), management=rabbit_server.management_url
    )
    async with RabbitBroker(least, options(tmp_path)) as poor:
        assert name in await first_of(poor)
        queue = await poor.open(name)
        for number in range(3):
            await (await broker.open(name)).publish(body_of(number))
        first, second, third = [await received(queue) for _ in range(3)]
        assert first.token.startswith("studio-runner.")
        await first.extend()
        await first.ack()
        await second.release(timedelta(seconds=0.2))
        await third.bury("no reason")
        await (await received(queue)).ack()


async def test_named_queues_need_no_right_to_list(
    rabbit_server: RabbitServer, name: str, tmp_path: Path
) -> None:
    """Named beside the credential or by an option, by name or address; only those that exist."""
    stranger, absent = foreign(rabbit_server), f"rmq_{secrets.token_hex(4)}"
    user = rabbit_server.user("secret", tags="")
    url = rabbit_server.url_for(user, "secret")
    beside = (stranger, f"amqp://127.0.0.1:{rabbit_server.port}/%2F?{absent}")
    async with (
        RabbitBroker(
            credential(url, management=rabbit_server.management_url, queues=beside),
            options(tmp_path, match="^none$", named=frozenset({name})),
        ) as broker,
        aclosing(broker.discover()) as sets,  # type: ignore[type-var]
    ):
        with anyio.fail_after(PATIENCE):
            assert await anext(sets) == {stranger, name}
            await anyio.to_thread.run_sync(rabbit_server.declare, absent)
            assert await anext(sets) == {stranger, name, absent}


async def test_a_management_interface_that_is_down_hides_no_named_queue(
    rabbit_server: RabbitServer, name: str, tmp_path: Path
) -> None:
    """The named ones are taken, and the trouble is told; without any, only the trouble."""
    (port,) = free_ports(1)
    wrong = credential(rabbit_server.url, management=f"http://127.0.0.1:{port}")
    async with (
        RabbitBroker(wrong, options(tmp_path, named=frozenset({name}))) as broker,
        aclosing(broker.discover()) as sets,  # type: ignore[type-var]
    ):
        assert await anext(sets) == {name}
        with pytest.raises(QueueUnavailable, match=str(port)):
            await anext(sets)
    async with RabbitBroker(wrong, options(tmp_path)) as broker:
        with pytest.raises(QueueUnavailable, match=str(port)):
            await first_of(broker)


async def test_no_virtual_host_is_a_denial(rabbit_server: RabbitServer, tmp_path: Path) -> None:
    """A virtual host that is not there, or not for this user, is said by name."""
    url = f"amqp://guest:guest@127.0.0.1:{rabbit_server.port}/elsewhere"
    async with RabbitBroker(credential(url), options(tmp_path)) as broker:
        with pytest.raises(QueueDenied, match="elsewhere"):
            await broker.exists("rmq_demo")


async def test_existence_is_the_brokers_to_say(
    rabbit_server: RabbitServer, broker: RabbitBroker, name: str
) -> None:
    """Yes and no, for queues seen and never seen, and for somebody's exclusive ones."""
    assert await broker.exists(name)
    assert not await broker.exists(f"rmq_{secrets.token_hex(4)}")
    await anyio.to_thread.run_sync(rabbit_server.delete, name)
    assert not await broker.exists(name)


async def test_a_virtual_host_with_a_slash_works_over_tls(
    rabbit_server: RabbitServer, tmp_path: Path
) -> None:
    """The URL's path is percent-encoded; the authority's file is trusted, and only it."""
    rabbit_server.ask("PUT", "vhosts/a%2Fb%20c")
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    rabbit_server.ask("PUT", "permissions/a%2Fb%20c/guest", everything)
    url = f"amqps://guest:guest@localhost:{rabbit_server.tls_port}/a%2Fb%20c"
    secure = credential(url, management=rabbit_server.management_url, ca=rabbit_server.authority)
    async with RabbitBroker(secure, options(tmp_path)) as broker:
        queue = await broker.open("rmq_secure")
        await queue.publish(body_of(1))
        assert "rmq_secure" in await first_of(broker)
        await (await received(queue)).ack()
    async with RabbitBroker(credential(url), options(tmp_path)) as broker:
        with pytest.raises(QueueUnavailable, match="certificate"):
            await (await broker.open("rmq_secure")).receive()
    rabbit_server.ask("DELETE", "vhosts/a%2Fb%20c")


async def test_two_brokers_of_one_process_share_a_thread(
    rabbit_server: RabbitServer, broker: RabbitBroker, name: str, tmp_path: Path
) -> None:
    """One may close while the other goes on."""
    async with RabbitBroker(credential(rabbit_server.url), options(tmp_path)) as other:
        assert await other.exists(name)
    assert await broker.exists(name)
    with pytest.raises(QueueUnavailable, match="closed"):
        await other.exists(name)


async def test_another_kind_of_credential_is_refused(broker: RabbitBroker, tmp_path: Path) -> None:
    """A URL that names no broker is said so, without its password."""
    with pytest.raises(Misconfigured, match="rabbit/url") as refused:
        RabbitBroker(credential("amqp://user:pass-word@:x/"), options(tmp_path))
    assert "pass-word" not in str(refused.value)
    with pytest.raises(Misconfigured):
        await broker.renew(credential("http://127.0.0.1"))
