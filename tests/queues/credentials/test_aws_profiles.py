"""AWS profiles: which make a credential, under which name, and what is said of the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.queues.credential import AwsCredential
from runner.queues.credentials import aws_profiles
from runner.queues.credentials.finding import BadCredential, Found
from tests.queues.credentials.keys import aws


def _read(*texts: str, profiles: tuple[str, ...] = ()) -> tuple[list[Found], list[str]]:
    sections = aws_profiles.merged(map(aws_profiles.sections_of, texts))
    return aws_profiles.read(
        sections, profiles, scope="aws_lab", origin="lab", files=frozenset({"/lab/credentials"})
    )


def _one(*texts: str, profiles: tuple[str, ...] = ()) -> AwsCredential:
    found, wrong = _read(*texts, profiles=profiles)
    assert wrong == []
    (one,) = found
    assert isinstance(one.credential, AwsCredential)
    return one.credential


@pytest.mark.parametrize(
    "texts",
    [
        ("[default]\nregion = us-west-2\n", aws()),
        ("[default]\nregion=us-west-2\n", aws()),
        ("region=us-west-2\n", aws()),
        ("[default]\nREGION = us-west-2\n", aws()),
        ("[profile other]\nregion = us-west-2\n", aws()),
        (aws(region="us-west-2"),),
        ("# a comment\n; another\n\n" + aws(region="us-west-2").replace(" = ", "="),),
        (aws(region="us-west-2").replace("\n", "\r\n"),),
    ],
)
def test_keys_and_region_are_found_however_they_are_parted(texts: tuple[str, ...]) -> None:
    """The layouts of protocol section 3.5 and of the AWS command line give the same."""
    credential = _one(*texts)
    assert (credential.broker, credential.scope) == ("sqs", "aws_lab")
    assert (credential.region, credential.access_key) == ("us-west-2", "KEYONE")
    assert credential.secret_key.reveal() == "secret-one"
    assert "secret-one" not in repr(credential)


def test_named_profiles_are_credentials_of_their_own() -> None:
    """Each has its own scope; what nobody named is left."""
    text = aws("KEYA", profile="a") + aws("KEYB", profile="b") + aws("KEYC", profile="c")
    config = "[profile a]\nregion = eu-west-1\n[default]\nregion = us-east-1\n"
    found, wrong = _read(config, text, profiles=("a", "b", "a"))
    assert wrong == []
    credentials = [one.credential for one in found]
    assert [one.scope for one in credentials] == ["aws_lab_a", "aws_lab_b"]
    assert [getattr(one, "region", "") for one in credentials] == ["eu-west-1", "us-east-1"]


def test_one_bad_profile_costs_no_other_one() -> None:
    """The good one is used, the bad one is named."""
    found, wrong = _read(aws(region="us-east-1", profile="good"), profiles=("good", "bad"))
    assert [one.credential.scope for one in found] == ["aws_lab_good"]
    assert len(wrong) == 1
    assert "no profile [bad]" in wrong[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (aws(), "names no region for [default]"),
        ("[default]\nregion = us-west-2\n", "lacks aws_access_key_id and aws_secret_access_key"),
        ("[default]\naws_access_key_id = KEY1\nregion = a-1\n", "lacks aws_secret_access_key in"),
        (aws(region="us-west-2", profile="other"), "no profile [default], only other"),
        (aws(region="not a region"), "'not a region', which is none"),
        (aws(hidden="two words", region="us-west-2"), "impossible aws_secret_access_key"),
        ("[default]\nregion=a-1\ncredential_process = /bin/x\n", "credential_process is not run"),
        ("[default]\nregion=a-1\nrole_arn=r\nsource_profile=x\n", "no profile [x]"),
        ("", "no profile [default]"),
    ],
)
def test_what_is_wrong_with_a_profile_is_said(text: str, words: str) -> None:
    """The sentence names what is missing, and what to write; never a secret."""
    found, wrong = _read(text)
    assert found == []
    assert len(wrong) == 1
    assert words in wrong[0]
    assert "two words" not in wrong[0]
    assert "secret-one" not in wrong[0]


def test_roles_are_passed_on() -> None:
    """A role needs no keys where a token file brings them, and takes another profile's else."""
    web = _one("[default]\nregion=eu-west-1\nrole_arn=arn:r\nweb_identity_token_file=/t\n")
    assert (web.access_key, dict(web.profile)) == (
        "",
        {"role_arn": "arn:r", "web_identity_token_file": "/t"},
    )
    source = aws("KEYX", profile="x")
    role = "[default]\nregion=eu-west-1\nrole_arn=arn:r\nsource_profile=x\nexternal_id=7\n"
    assumed = _one(role, source)
    assert assumed.access_key == "KEYX"
    assert dict(assumed.profile) == {"role_arn": "arn:r", "external_id": "7"}


def test_roles_that_name_each_other_end() -> None:
    """A circle of source profiles is an error, not a hang."""
    circle = "role_arn=r\nsource_profile={}\nregion=eu-west-1\n"
    text = "[default]\n" + circle.format("x") + "[x]\n" + circle.format("default")
    found, wrong = _read(text)
    assert (found, len(wrong)) == ([], 1)


@given(st.text(alphabet=st.characters(max_codepoint=0x2FF), max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the reader raise anything but its own error."""
    try:
        sections = aws_profiles.sections_of(text)
    except BadCredential:
        return
    aws_profiles.read(
        sections, (), scope="s", origin="o", files=frozenset(), endpoint="http://localhost"
    )
