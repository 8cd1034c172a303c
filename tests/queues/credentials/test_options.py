"""How options and the environment become the sources of credentials."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.app.credentials import credential_sources
from runner.errors import Misconfigured
from runner.queues.credentials import Sources
from runner.settings import Settings


def _sources(*argv: str, **environ: str) -> Sources:
    return credential_sources(Settings.load(argv, environ), environ)


def test_every_option_arrives() -> None:
    """Each where the finder looks for it."""
    sources = _sources(
        "--certs-dir=/c",
        "--google-certs=/g",
        "--sqs-certs=/s",
        "--amqp-url=amqp://me:sesame@host/",
        "--amqp-mgt-url=http://host:15672",
        "--google-project=p-1",
        "--aws-region=eu-west-1",
        "--ambient-credentials=google,aws",
        "--queue=pubsub://p-1/a_sub",
        "--queue=sqs://eu-west-1/sqs_a",
    )
    assert (sources.certs_dir, sources.google_certs) == (Path("/c"), Path("/g"))
    assert sources.sqs_certs == Path("/s")
    assert sources.amqp_url.reveal() == "amqp://me:sesame@host/"
    assert sources.amqp_management_url.reveal() == "http://host:15672"
    assert (sources.google_project, sources.aws_region) == ("p-1", "eu-west-1")
    assert sources.ambient == {"google", "aws"}
    assert [str(one) for one in sources.queues] == ["pubsub://p-1/a_sub", "sqs://eu-west-1/sqs_a"]


def test_the_clouds_own_variables_are_honoured() -> None:
    """As their own tools do; an option of ours wins."""
    environ = {
        "GOOGLE_APPLICATION_CREDENTIALS": "/k.json",
        "GOOGLE_CLOUD_PROJECT": "p-2",
        "AWS_DEFAULT_REGION": "us-east-2",
        "PUBSUB_EMULATOR_HOST": "localhost:8085",
        "AWS_ENDPOINT_URL": "http://localhost:1",
    }
    sources = _sources(**environ)
    assert sources.google_key == Path("/k.json")
    assert (sources.google_project, sources.aws_region) == ("p-2", "us-east-2")
    assert sources.pubsub_emulator == "localhost:8085"
    assert sources.aws_endpoint == "http://localhost:1"
    more = {**environ, "AWS_REGION": "r-1", "AWS_ENDPOINT_URL_SQS": "http://localhost:2"}
    sources = _sources("--google-project=p-3", **more)
    assert (sources.google_project, sources.aws_region) == ("p-3", "r-1")
    assert sources.aws_endpoint == "http://localhost:2"


def test_nothing_is_used_that_nobody_asked_for() -> None:
    """Without options there is the watched directory alone."""
    sources = _sources()
    assert sources.certs_dir is not None
    assert (sources.google_certs, sources.sqs_certs, sources.google_key) == (None, None, None)
    assert not sources.ambient
    assert not sources.amqp_url
    assert sources.queues == ()


def test_a_key_file_of_the_machines_identity_is_the_sdks_own() -> None:
    """With ambient Google identity the variable names any kind of file that Google's tools read."""
    sources = _sources("--ambient-credentials=google", GOOGLE_APPLICATION_CREDENTIALS="/k.json")
    assert sources.google_key is None


def test_variables_in_a_url_are_expanded() -> None:
    """Both forms; what is no variable stays, as a password may hold a dollar sign."""
    argv = ["--amqp-url=amqp://$USER_:${PASS}@host/$nothing"]
    sources = _sources(*argv, USER_="me", PASS="sesame")
    assert sources.amqp_url.reveal() == "amqp://me:sesame@host/$nothing"


@pytest.mark.parametrize("text", ["sqs://a/b/c/d", "projects/p/topics/t", "nothing://x"])
def test_a_queue_that_is_no_address_stops_the_start(text: str) -> None:
    """With the option's name and the forms that are accepted."""
    with pytest.raises(Misconfigured) as caught:
        _sources(f"--queue={text}")
    assert "--queue" in str(caught.value)


@pytest.mark.parametrize("word", ["azure", "google aws"])
def test_other_clouds_are_refused(word: str) -> None:
    """The sentence names those that there are."""
    with pytest.raises(Misconfigured) as caught:
        _sources(f"--ambient-credentials={word}")
    assert "google, aws" in str(caught.value)
