"""What of a request is secret."""

from __future__ import annotations

import json

from runner.model import Message
from runner.request.schema import decode
from runner.request.secrets import secrets_of


def _message() -> Message:
    keys = {"access_key": "ABCDEFGHIJKLMNOP1234", "secret_access_key": "s3/secret"}
    plain = {"unpack": True, "mutable": True, "bucket": "b"}
    body = {
        "experiment": {
            "key": "the-key-of-it",
            "filename": "train.py",
            "args": ["--api-key", "in-an-argument", "--db-password=of-the-db", "--lr", "0.123456"],
            "pythonenv": ["x @ git+https://me:of-git@host/r"],
            "pythonver": None,
            "project": "project-of-it",
            "resources_needed": {"cpus": 1, "gpus": 0, "ram": "64m", "hdd": "64m"},
            "time_added": 1.0,
            "artifacts": {
                "workspace": {
                    **plain,
                    "key": "a",
                    "qualified": "s3://h/b/a",
                    "credentials": {"aws": {**keys, "session_token": "a/session"}},
                },
                "web": {
                    **plain,
                    "mutable": False,
                    "key": "w",
                    "qualified": "https://h/w?X-Amz-Signature=of-the-address",
                },
            },
        },
        "config": {
            "database": {"type": "s3", "endpoint": "http://h", "bucket": "m"},
            "storage": {
                "type": "s3",
                "endpoint": "http://h",
                "bucket": "b",
                "credentials": {"plain": {"user": "studio", "password": "of-storage"}},
            },
            "env": {
                "MY_TOKEN": "of-the-env",
                "OTHER_TOKEN": "the-key-of-it",
                "PLAIN": "a-plain-value",
                "ON_TOKEN": "true",
            },
        },
    }
    return Message("id", json.dumps(body).encode(), "queue")


def test_all_that_opens_something_is_found() -> None:
    """Of variables, credentials, addresses, requirements and arguments."""
    assert {one for one in secrets_of(decode(_message())) if one} == {
        *("of-the-env", "ABCDEFGHIJKLMNOP1234", "s3/secret", "a/session", "of-the-address"),
        *("of-storage", "of-git", "in-an-argument", "of-the-db"),
    }
