"""Settings and credentials: what a daemon would refuse, and files that are no credentials."""

from __future__ import annotations

import os

import pytest

from runner.doctor import configuration, credentials
from runner.doctor.check import Verdict
from tests.doctor.conftest import Clinic

pytestmark = pytest.mark.anyio


async def test_settings_that_a_daemon_takes(clinic: Clinic) -> None:
    """They are told to be well."""
    found = await clinic.look(configuration.look, await clinic.patient())
    assert Verdict.FAILED not in found.verdicts
    assert found.saying("a daemon would start").verdict is Verdict.OK


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--queue", "nobody://x"), "--queue"),
        (("--s3-key", "/nowhere/key"), "--s3-cert"),
        (("--slack-token", "xoxb-1-2-3"), "--slack-room"),
        (("--local-store-root", "{root}/certs/below"), "lies inside the credentials directory"),
    ],
)
async def test_what_a_daemon_would_not_start_with(
    clinic: Clinic, argv: tuple[str, ...], words: str
) -> None:
    """It is said in the daemon's own words, before anybody starts one."""
    clinic.certs("lab")
    argv = tuple(word.format(root=clinic.root) for word in argv)
    found = await clinic.look(configuration.look, await clinic.patient(*argv))
    assert any(one.verdict is Verdict.FAILED and words in one.sentence for one in found.findings), (
        found
    )


async def test_a_secret_on_the_command_line_is_a_warning(clinic: Clinic) -> None:
    """With the form that hides it."""
    patient = await clinic.patient("--amqp-url", "amqp://u:a-password@localhost/")
    found = await clinic.look(configuration.look, patient)
    warned = found.saying("--amqp-url-file")
    assert warned.verdict is Verdict.WARNING
    assert "a-password" not in warned.sentence


async def test_root_without_a_user_for_experiments_is_told(clinic: Clinic) -> None:
    """The one thing that everybody meets first; as an ordinary user there is nothing to say."""
    patient = await clinic.patient("--allow-root-experiments", "false")
    found = await clinic.look(configuration.look, patient)
    told = [one for one in found.findings if "--run-as" in one.sentence]
    assert bool(told) == (os.geteuid() == 0)


async def test_a_credential_is_named_with_what_it_opens(clinic: Clinic) -> None:
    """By the directory in which people find it."""
    clinic.aws("http://127.0.0.1:1")
    found = await clinic.look(credentials.look, await clinic.patient())
    (told,) = [one for one in found.findings if "sqs queues" in one.sentence]
    assert told.verdict is Verdict.OK
    assert "lab" in told.about


async def test_a_bad_file_is_named_with_what_is_wrong(clinic: Clinic) -> None:
    """And the good one beside it is well."""
    clinic.certs("broken", url="amqp://nobody\n")
    clinic.aws("http://127.0.0.1:1")
    found = await clinic.look(credentials.look, await clinic.patient())
    bad = found.about("broken")
    assert bad.verdict is Verdict.FAILED
    assert "user or password" in bad.sentence
    assert "docs/permissions.md" in bad.remedy
    assert found.about("lab").verdict is Verdict.OK


async def test_a_file_that_everybody_can_read_is_a_warning(clinic: Clinic) -> None:
    """With the command that closes it."""
    place = clinic.certs("open", url="amqp://user:password@127.0.0.1/\n")
    for path in (place, place.parent, place / "url"):
        path.chmod(0o755)
    found = await clinic.look(credentials.look, await clinic.patient())
    (warned,) = [one for one in found.findings if one.verdict is Verdict.WARNING]
    assert warned.remedy.startswith("chmod go-rwx ")


async def test_no_credential_is_well_where_there_are_local_queues(clinic: Clinic) -> None:
    """Without either nothing can ever come."""
    found = await clinic.look(credentials.look, await clinic.patient())
    assert found.verdicts[-1] is Verdict.OK
    found = await clinic.look(credentials.look, await clinic.patient("--queue-root", ""))
    assert found.verdicts[-1] is Verdict.FAILED
    assert str(clinic.root / "certs") in found.findings[-1].remedy
