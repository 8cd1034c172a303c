"""moto: a small S3 (and SQS) that knows tokens and regions, and accepts every secret."""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from runner.model import Credentials
from runner.redaction import Secret
from tests.servers.process import free_ports, serving
from tests.servers.s3 import S3Server
from tests.services import absence, server_command

_TEMPORARY = ("AccessKeyId", "SecretAccessKey", "SessionToken")


@contextmanager
def running(directory: Path) -> Iterator[S3Server]:
    """Run a server in an empty directory."""
    (port,) = free_ports(1)
    server = S3Server(port)
    command = [server_command("moto_server") or "moto_server", "-H", "127.0.0.1", "-p", str(port)]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(directory)}
    with serving(command, lambda: _is_ready(server), directory=directory, environment=environment):
        yield server


def _is_ready(server: S3Server) -> bool:
    try:
        return server.request("GET", "/moto-api/data.json").status == 200
    except OSError:
        return False


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Run one moto for the whole session; tests that use it are marked ``service("sqs")``."""
    if reason := absence("sqs"):
        pytest.skip(f"service sqs: {reason}")
    with running(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture
def moto_bucket(moto_server: S3Server) -> Iterator[str]:
    """Return a new bucket."""
    with moto_server.bucket() as name:
        yield name


def assumed_role(server: S3Server) -> Credentials:
    """Return temporary keys of a role that may do everything with S3."""
    everything_of_s3 = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everything_of_s3]})
    role = {"RoleName": "role", "AssumeRolePolicyDocument": policy}
    _ask(server, "iam", "CreateRole", "2010-05-08", role)
    document = {"RoleName": "role", "PolicyName": "policy", "PolicyDocument": policy}
    _ask(server, "iam", "PutRolePolicy", "2010-05-08", document)
    arn = {"RoleArn": "arn:aws:iam::123456789012:role/role", "RoleSessionName": "session"}
    said = _ask(server, "sts", "AssumeRole", "2011-06-15", arn)
    found = {name: re.search(f"<{name}>([^<]+)<", said) for name in _TEMPORARY}
    access, secret, token = (cast("re.Match[str]", found[name])[1] for name in _TEMPORARY)
    return Credentials(access, Secret(secret), Secret(token))


def _ask(server: S3Server, service: str, action: str, version: str, words: dict[str, str]) -> str:
    """Call an action of moto's other services."""
    query = urllib.parse.urlencode({"Action": action, "Version": version, **words})
    answer = server.request("POST", f"/?{query}", service=service)
    assert answer.status == 200, answer
    return answer.body.decode()


@contextmanager
def checking_keys(server: S3Server) -> Iterator[None]:
    """Have moto check keys from now on."""
    assert server.request("POST", "/moto-api/reset-auth", b"0").status == 200
    try:
        yield
    finally:
        server.request("POST", "/moto-api/reset-auth", b"inf")
