"""What ``docs/permissions.md`` grants is enough: its own words, given to a real broker."""

from __future__ import annotations

import json
import re
import secrets
import shlex
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
import structlog

from runner.model import Bytes
from runner.queues.base import BrokerOptions, Inspectable
from runner.queues.choice import Choice
from runner.queues.credential import AmqpCredential
from runner.queues.credentials import Sources, found_now
from runner.queues.drawer import Drawer
from runner.queues.rabbitmq import RabbitBroker
from tests.queues.credentials.keys import put
from tests.servers.rabbitmq import RabbitServer

_TEXT = (Path(__file__).parents[3] / "docs" / "permissions.md").read_text()
_PATIENCE = 30.0


@pytest.fixture
def documented_user(rabbit_server: RabbitServer) -> str:
    """Make a user by the commands in the document, with another name and password."""
    name, password = f"user-{secrets.token_hex(4)}", "sesame-open"
    (block,) = re.findall(r"```sh\n(rabbitmqctl .*?)```", _TEXT, re.DOTALL)
    for line in block.splitlines():
        words = [name if word == "studio-runner" else word for word in shlex.split(line)]
        words = [password if word == "the password" else word for word in words]
        rabbit_server.control(*words[1:])
    return rabbit_server.url_for(name, password)


@pytest.mark.anyio
@pytest.mark.service("rabbitmq")
async def test_the_rights_for_rabbitmq_are_enough(
    rabbit_server: RabbitServer, documented_user: str, tmp_path: Path
) -> None:
    """From a file with a URL: found by its binding, taken, kept, delayed, settled, and parked."""
    name = f"rmq_{secrets.token_hex(4)}"
    await anyio.to_thread.run_sync(rabbit_server.declare, name)
    await anyio.to_thread.run_sync(rabbit_server.declare, f"private_{name}")
    put(tmp_path / "certs" / "lab" / "url", f"{documented_user}\n{rabbit_server.management_url}\n")
    (credential,) = found_now(Sources(certs_dir=tmp_path / "certs"), {}).chosen.credentials
    assert isinstance(credential, AmqpCredential)
    options = BrokerOptions(
        owner="tests",
        choice=Choice(re.compile("^rmq_")),
        lease=timedelta(seconds=3),
        refresh=timedelta(seconds=1),
        timeout=timedelta(seconds=10),
        drawer=Drawer(tmp_path / "drawer", Bytes(1 << 20)),
    )
    await anyio.to_thread.run_sync(_publish, rabbit_server, name)
    with structlog.testing.capture_logs() as logged, anyio.fail_after(_PATIENCE):
        async with RabbitBroker(credential, options) as broker:
            async with aclosing(broker.discover()) as sets:  # type: ignore[type-var]  # a generator
                assert name in await anext(sets)
            queue = await broker.open(name)
            assert isinstance(queue, Inspectable)
            first = await queue.receive()
            await first.extend()
            await first.release(timedelta(seconds=0.2))
            second = await queue.receive()
            assert second.message.body == b"{}"
            await second.ack()
            assert await broker.exists(name)
            assert not await broker.exists(f"{name}_absent")
    assert [line for line in logged if "parking" in line["event"]] == []
    for one in (name, f"private_{name}"):
        await anyio.to_thread.run_sync(rabbit_server.delete, one)


def _publish(server: RabbitServer, queue: str) -> None:
    message = {"routing_key": queue, "payload": "{}", "payload_encoding": "string"}
    sent = server.ask(
        "POST", "exchanges/%2F/amq.default/publish", {"properties": {}, "vhost": "/", **message}
    )
    assert sent == {"routed": True}


def test_every_policy_is_valid_json_of_its_kind() -> None:
    """What is pasted into a console is not refused for a comma."""
    texts = re.findall(r"```json\n(.*?)```", _TEXT, re.DOTALL)
    texts += re.findall(r"<<'END'\n(.*?)\nEND", _TEXT, re.DOTALL)
    assert len(texts) == 4
    for text in texts:
        policy = json.loads(text)
        assert policy["Version"] == "2012-10-17"
        for statement in policy["Statement"]:
            assert statement["Effect"] == "Allow"
            actions = statement["Action"]
            for action in [actions] if isinstance(actions, str) else actions:
                assert re.fullmatch(r"(sqs|s3):[A-Z][A-Za-z]+", action)


def test_every_call_to_sqs_is_granted_or_named() -> None:
    """Each operation that the backend asks for stands in the document."""
    sources = (Path(__file__).parents[3] / "runner" / "queues" / "sqs").glob("*.py")
    operations = {
        word
        for path in sources
        for word in re.findall(
            r'"((?:[a-z]+_)*(?:queues?|message|visibility|url|attributes)(?:_[a-z]+)*)",? ',
            path.read_text(),
        )
        if "_" in word
    }
    known = {"receive_message", "delete_message", "list_queues", "get_queue_url", "send_message"}
    assert known <= operations
    for operation in operations:
        action = "sqs:" + "".join(map(str.title, operation.removesuffix("_batch").split("_")))
        assert action in _TEXT, operation
