"""The machine's own identity, with a real server in the place of the metadata services."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from runner.queues.credential import AwsCredential, GoogleCredential
from runner.queues.credentials import Sources
from runner.queues.credentials.ambient import Ambient

_ANSWERS = {
    ("GET", "/computeMetadata/v1/project/project-id", "Metadata-Flavor", "Google"): "p-1",
    ("PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60"): "a-token",
    (
        "GET",
        "/latest/meta-data/placement/region",
        "X-aws-ec2-metadata-token",
        "a-token",
    ): "eu-central-1",
}


class _Metadata(BaseHTTPRequestHandler):
    """Answers as Google's and Amazon's services do, and only who asks as they want it."""

    def _answer(self) -> None:
        found = [
            text
            for (method, path, header, value), text in _ANSWERS.items()
            if (method, path) == (self.command, self.path) and self.headers.get(header) == value
        ]
        body = (found[0] if found else "no").encode()
        self.send_response(200 if found else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = _answer  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def metadata() -> Iterator[str]:
    """Give the address of a metadata server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Metadata) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def _environ(server: str) -> dict[str, str]:
    return {"GCE_METADATA_HOST": server, "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{server}/"}


def test_the_metadata_services_say_project_and_region(metadata: str) -> None:
    """One credential without a key for each cloud that the option names."""
    sources = Sources(ambient=frozenset({"google", "aws"}))
    found, troubles = Ambient(sources, _environ(metadata)).look(0.0)
    google, aws = (one.credential for one in found)
    assert troubles == []
    assert isinstance(google, GoogleCredential)
    assert isinstance(aws, AwsCredential)
    assert (google.project, bool(google.key)) == ("p-1", False)
    assert (aws.scope, aws.region, aws.access_key) == ("aws_ambient", "eu-central-1", "")


def test_what_is_said_is_not_asked() -> None:
    """``--google-project`` and ``--aws-region`` need no metadata service."""
    sources = Sources(
        ambient=frozenset({"google", "aws"}), google_project="p-2", aws_region="us-east-1"
    )
    found, troubles = Ambient(sources, _environ("127.0.0.1:1")).look(0.0)
    assert [one.credential.scope for one in found] == ["p-2", "aws_ambient"]
    assert troubles == []


def test_without_the_option_nobody_is_asked() -> None:
    """The machine's identity is used only when the operator says so."""
    sources = Sources(google_project="p-2", aws_region="us-east-1")
    assert Ambient(sources, {}).look(0.0) == ([], [])


def test_a_service_that_does_not_answer_is_asked_again_later(metadata: str) -> None:
    """Not at every look; and the trouble names the option that does without it."""
    environ = _environ("127.0.0.1:1")
    ambient = Ambient(Sources(ambient=frozenset({"google", "aws"})), environ)
    found, troubles = ambient.look(0.0)
    assert found == []
    assert ["--google-project" in troubles[0].sentence, "--aws-region" in troubles[1].sentence] == [
        True,
        True,
    ]
    environ.update(_environ(metadata))
    assert ambient.look(1.0)[0] == []
    found, troubles = ambient.look(60.0)
    assert (len(found), troubles) == (2, [])


def test_who_forbids_the_question_is_not_asked(metadata: str) -> None:
    """``AWS_EC2_METADATA_DISABLED`` is Amazon's own word for it."""
    environ = {**_environ(metadata), "AWS_EC2_METADATA_DISABLED": "true"}
    found, troubles = Ambient(Sources(ambient=frozenset({"aws"})), environ).look(0.0)
    assert (found, len(troubles)) == ([], 1)
