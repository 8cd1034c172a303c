"""What ``certs.example`` shows is what is read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from runner.queues.credential import AmqpCredential, AwsCredential, GoogleCredential
from runner.queues.credentials import Sources, found_now

_REPOSITORY = Path(__file__).parents[3]
_EXAMPLES = _REPOSITORY / "certs.example"


def test_every_example_is_read_as_its_readme_says() -> None:
    """Each directory gives the credential of its line, and nothing in them is in doubt."""
    finder = found_now(Sources(certs_dir=_EXAMPLES))
    found = {one.origin: one for one in finder.chosen.credentials}
    assert finder.troubles == ()
    assert {origin: one.scope for origin, one in found.items()} == {
        "google/lab/key.json": "example-project",
        "aws/lab": "aws_lab",
        "aws/one-file": "aws_one-file",
        "aws/team, profile vision": "aws_team_vision",
        "aws/team, profile speech": "aws_team_speech",
        "rabbitmq/lab/url": "amqp://rabbitmq.example.com:5672/%2F",
        "rabbitmq/tls/url": "amqps://rabbitmq.example.org:5671/research",
    }
    readme = (_EXAMPLES / "README.md").read_text()
    assert all(f"`{one.scope}`" in readme for one in found.values())


def test_the_examples_show_queues_regions_and_authorities() -> None:
    """What stands beside a secret reaches the credential that it concerns, and no other."""
    found = {one.origin: one for one in found_now(Sources(certs_dir=_EXAMPLES)).chosen.credentials}
    google = found["google/lab/key.json"]
    assert isinstance(google, GoogleCredential)
    assert google.queues == ("training_sub", "pubsub://example-project/evaluation_sub")
    assert google.key_file == _EXAMPLES / "google/lab/key.json"
    vision, speech = found["aws/team, profile vision"], found["aws/team, profile speech"]
    assert isinstance(vision, AwsCredential)
    assert isinstance(speech, AwsCredential)
    assert (vision.region, vision.queues) == (
        "us-west-2",
        ("sqs://us-west-2/111122223333/sqs_vision",),
    )
    assert (speech.region, speech.queues) == (
        "us-east-1",
        ("sqs://us-east-1/111122223333/sqs_speech",),
    )
    assert speech.session_token.reveal() == "an-invented-token"
    lab, tls = found["rabbitmq/lab/url"], found["rabbitmq/tls/url"]
    assert isinstance(lab, AmqpCredential)
    assert isinstance(tls, AmqpCredential)
    assert lab.management_url.reveal() == "http://rabbitmq.example.com:15672"
    assert (lab.queues, tls.ca) == (("rmq_training",), _EXAMPLES / "rabbitmq/tls/ca.pem")


@pytest.mark.parametrize("example", sorted(p.parent for p in _EXAMPLES.glob("*/*/*")))
def test_an_example_alone_in_a_directory_works(example: Path, tmp_path: Path) -> None:
    """Copied right below the watched directory, each is as good as in its place here."""
    shutil.copytree(example, tmp_path / "certs" / example.name)
    finder = found_now(Sources(certs_dir=tmp_path / "certs"))
    assert finder.chosen.credentials
    assert finder.troubles == ()
