"""A directory of credentials as a whole: what is used, what is said, and that nobody suffers."""

from __future__ import annotations

import itertools
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runner.errors import Misconfigured
from runner.queues import addresses
from runner.queues.credential import AmqpCredential, GoogleCredential
from runner.queues.credentials import Sources, Trouble, found_now
from runner.queues.credentials.contents import LARGEST
from runner.queues.credentials.finder import Finder
from runner.queues.credentials.speaking import Speaking
from runner.redaction import Secret
from tests.queues.credentials.keys import aws, google, kubelet, put

_URL = "amqp://me:sesame@host/v\n"


class _Looking:
    """Looks, with clocks of its own."""

    def __init__(self, sources: Sources) -> None:
        self.finder = Finder(sources, {})
        self._clock = itertools.count(1)

    def look(self) -> list[str]:
        """Return the scopes once everything has settled."""
        for _ in range(2):
            chosen = self.finder.look(next(self._clock), 0.0)
        return [one.scope for one in chosen.credentials]

    @property
    def said(self) -> list[tuple[str, str]]:
        """What is wrong, by the last part of the path."""
        return [(Path(one.about).name, one.sentence) for one in self.finder.troubles]


def _at(certs: Path) -> _Looking:
    return _Looking(Sources(certs_dir=certs))


def _scopes(sources: Sources) -> list[str]:
    return [one.scope for one in found_now(sources, {}).chosen.credentials]


def test_one_bad_credential_disables_nobody_else(tmp_path: Path) -> None:
    """Whatever else lies there, and each bad one is named with what is wrong."""
    put(tmp_path / "good" / "key.json", google("good-1"))
    put(tmp_path / "lab" / "credentials", aws(region="us-west-2"))
    put(tmp_path / "rabbit" / "url", _URL)
    bad = {
        "a/key.json": "{",
        "b/credentials": aws(),
        "c/credentials": "[default\nkey",
        "d/url": "amqp://host",
        "e/what": "nothing that anybody knows",
        "f/binary": "\0\1",
        "g/one": aws("KEYA", region="a-1"),
        "g/two": aws("KEYB", region="a-1"),
        "h/key.json": "[]",
        "i/empty": "",
        "j/url": _URL + "http://host:1\nand more\n",
    }
    for name, text in bad.items():
        put(tmp_path / name, text)
    (tmp_path / "k").write_bytes(b"\xff\xfe")
    put(tmp_path / "l", "x" * (LARGEST + 1))
    looking = _at(tmp_path)
    assert looking.look() == ["good-1", "amqp://host:5672/v", "aws_lab"]
    assert sorted(name for name, _ in looking.said) == sorted(
        ["key.json", "b", "c", "url", "what", "binary", "g", "key.json", "empty", "url", "k", "l"]
    )
    assert all("sesame" not in sentence for _, sentence in looking.said)


_NAMES = (
    "queues",
    "profiles",
    "credentials",
    "config",
    "a.json",
    "url",
    "ca.pem",
    "\udcff",
    "x\ny",
)
_PIECES = (
    *(
        google(),
        aws(),
        aws(region="r-1"),
        _URL,
        "region=x",
        "[default]",
        "-----BEGIN CERTIFICATE-----",
    ),
    *("http://[", "sqs://", "amqp://a:b@c/d?e", "\0", "\n", "[", "=", "#", "{", "\ufeff", "\r"),
)


@given(
    st.dictionaries(
        st.sampled_from(_NAMES),
        st.lists(st.sampled_from(_PIECES) | st.text(max_size=20), max_size=4).map("".join),
        max_size=5,
    )
)
@example({"queues": aws(), "credentials": "amqp://a:b@c/d?e"})
def test_whatever_lies_there_harms_nobody(files: dict[str, str]) -> None:
    """No content makes a look fail or hides another directory's credential, and all is sayable."""
    with tempfile.TemporaryDirectory() as directory:
        certs = Path(directory)
        put(certs / "good" / "key.json", google("good-1"))
        for name, text in files.items():
            put(certs / "any" / name, text.encode("utf-8", "replace").decode())
        finder = found_now(Sources(certs_dir=certs), {})
        scopes = [one.scope for one in finder.chosen.credentials]
        assert "good-1" in scopes
        assert len(scopes) == len(set(scopes))
        assert "secret-one" not in repr((finder.chosen, finder.troubles))
        assert "sesame" not in repr((finder.chosen, finder.troubles))


def test_readmes_and_copies_of_editors_are_passed_over(tmp_path: Path) -> None:
    """They are nobody's mistake."""
    for name in ("README.md", "README", "a.json~", ".a.json.swp", "a.json.bak", "notes.md"):
        put(tmp_path / name, google())
    looking = _at(tmp_path)
    assert (looking.look(), looking.said) == ([], [])


def test_a_kubernetes_volume_is_one_credential(tmp_path: Path) -> None:
    """``key``, ``..data/key`` and ``..2026_…/key`` are the same file."""
    kubelet(tmp_path / "google", "1", {"key.json": google("p-1")})
    kubelet(tmp_path / "lab", "1", {"credentials": aws(), "config": aws("", region="eu-west-1")})
    looking = _at(tmp_path)
    assert looking.look() == ["p-1", "aws_lab"]
    assert looking.said == []


@pytest.mark.parametrize(
    ("files", "scopes"),
    [
        ({"lab/credentials": aws(region="r-1")}, ["aws_lab"]),
        ({"lab/keys": aws(), "lab/where": "region=r-1\n"}, ["aws_lab"]),
        ({"lab/one.ini": aws(region="r-1")}, ["aws_lab"]),
        ({"aws/lab/credentials": aws(region="r-1")}, ["aws_lab"]),
        ({"team/prod/credentials": aws(region="r-1")}, ["aws_team_prod"]),
        ({"my lab/credentials": aws(region="r-1")}, ["aws_my-lab"]),
        ({"credentials": aws(), "config": "region=r-1\n"}, ["aws_certs"]),
        (
            {"a.ini": aws("KEYA"), "b.ini": aws("KEYB"), "config": "region=r-1\n"},
            ["aws_a", "aws_b"],
        ),
        (
            {
                "lab/credentials": aws("KEYA", region="r-1", profile="a"),
                "lab/profiles": "# mine\na\n",
            },
            ["aws_lab_a"],
        ),
    ],
)
def test_aws_credentials_are_called_after_their_directory(
    tmp_path: Path, files: dict[str, str], scopes: list[str]
) -> None:
    """The name follows from the path alone, so that it outlives a rotation."""
    for name, text in files.items():
        put(tmp_path / "certs" / name, text)
    looking = _at(tmp_path / "certs")
    assert (looking.look(), looking.said) == (scopes, [])


def test_what_is_written_badly_leaves_what_it_said_before_in_use(tmp_path: Path) -> None:
    """Until it is removed, or says something again; and that is said."""
    key = put(tmp_path / "g" / "key.json", google("p-1"))
    secret = put(tmp_path / "lab" / "credentials", aws())
    config = put(tmp_path / "lab" / "config", "region=r-1\n")
    url = put(tmp_path / "r" / "url", _URL)
    looking = _at(tmp_path)
    all_of_them = looking.look()
    for path in (key, secret, config, url):
        path.write_text("# away with it\n")
    assert looking.look() == all_of_them
    assert all(s.endswith("what it said before stays in use") for _, s in looking.said)
    key.write_text(google("p-2"))
    config.unlink()
    url.unlink()
    assert looking.look() == ["p-2"]


def test_a_file_that_grows_beyond_measure_is_not_read(tmp_path: Path) -> None:
    """What it said before stays in use, and its size is said."""
    key = put(tmp_path / "key.json", google("p-1"))
    looking = _at(tmp_path)
    looking.look()
    with key.open("r+b") as file:
        file.truncate(1 << 30)
    assert looking.look() == ["p-1"]
    ((_, sentence),) = looking.said
    assert "1073741824 bytes" in sentence


def test_queues_beside_a_credential_are_taken_with_it(tmp_path: Path) -> None:
    """Each by the credentials that can open it; one that nobody opens is named."""
    put(tmp_path / "g" / "key.json", google("p-1"))
    put(tmp_path / "g" / "queues", "# mine\ntraining_sub\npubsub://other-1/x_sub\nsqs://a b\n")
    put(tmp_path / "r" / "url", _URL)
    put(tmp_path / "r" / "queues", "amqp://me:sesame@host/v?rmq_a\nrmq_b\n")
    put(tmp_path / "nobody" / "queues", "rmq_c\n")
    looking = _at(tmp_path)
    looking.look()
    queues = {one.scope: one.queues for one in looking.finder.chosen.credentials}
    assert queues == {
        "p-1": ("training_sub",),
        "amqp://host:5672/v": ("amqp://host:5672/v?rmq_a", "rmq_b"),
    }
    sentences = " | ".join(sentence for _, sentence in looking.said)
    assert "pubsub://other-1/x_sub" in sentences
    assert "line 4 names no queue" in sentences
    assert "sqs://a b" not in sentences, "it might have been a secret"
    assert "stands beside no credential" in sentences
    assert "sesame" not in sentences


def test_a_change_of_the_queues_alone_is_a_change(tmp_path: Path) -> None:
    """The fingerprint tells."""
    put(tmp_path / "key.json", google())
    queues = put(tmp_path / "queues", "aaa_sub\n")
    looking = _at(tmp_path)
    looking.look()
    (before,) = looking.finder.chosen.credentials
    queues.write_text("bbb_sub\n")
    looking.look()
    (after,) = looking.finder.chosen.credentials
    assert (before.queues, after.queues) == (("aaa_sub",), ("bbb_sub",))
    assert before.fingerprint != after.fingerprint


def test_named_queues_reach_the_credentials_that_open_them(tmp_path: Path) -> None:
    """``--queue`` adds to what is there; what nobody opens is named, local queues are not ours."""
    put(tmp_path / "a" / "key.json", google("p-1"))
    put(tmp_path / "b" / "key.json", google("p-2"))
    named = ("pubsub://p-1/a_sub", "pubsub://p-3/b_sub", "local://c")
    sources = Sources(certs_dir=tmp_path, queues=tuple(map(addresses.parse, named)))
    looking = _Looking(sources)
    looking.look()
    queues = {one.scope: one.queues for one in looking.finder.chosen.credentials}
    assert queues == {"p-1": ("pubsub://p-1/a_sub",), "p-2": ()}
    ((about, sentence),) = looking.said
    assert about == "--queue"
    assert "pubsub://p-3/b_sub" in sentence


def test_a_queue_with_a_login_needs_no_other_credential() -> None:
    """The address of a RabbitMQ queue may be all there is."""
    address = addresses.parse("amqp://me:sesame@host/v?rmq_a")
    finder = found_now(Sources(queues=(address,)), {})
    (credential,) = finder.chosen.credentials
    assert isinstance(credential, AmqpCredential)
    assert credential.url.reveal() == "amqp://me:sesame@host/v"
    assert credential.queues == ("amqp://host:5672/v?rmq_a",)
    assert Secret("sesame") in finder.secrets


def test_options_and_directories_of_the_original_work(tmp_path: Path) -> None:
    """``--google-certs``, ``--sqs-certs``, ``GOOGLE_APPLICATION_CREDENTIALS``, ``--amqp-url``."""
    put(tmp_path / "google" / "deep" / "a.json", google("p-1"))
    put(tmp_path / "google" / "lab" / "credentials", aws("KEYX", region="r-1"))
    put(tmp_path / "sqs" / "lab" / "credentials", aws())
    put(tmp_path / "sqs" / "lab" / "config", "region=r-1\n")
    put(tmp_path / "sqs" / "other" / "key.json", google("p-9"))
    put(tmp_path / "mine" / "key.json", google("p-2"))
    put(tmp_path / "mine" / "other.json", google("p-3"))
    sources = Sources(
        google_certs=tmp_path / "google",
        sqs_certs=tmp_path / "sqs",
        google_key=tmp_path / "mine" / "key.json",
        amqp_url=Secret("amqp://me:sesame@host/v"),
        amqp_management_url=Secret("http://host:15672"),
    )
    assert _scopes(sources) == ["p-1", "p-2", "amqp://host:5672/v", "aws_lab"]


@pytest.mark.parametrize("url", ["amqp://host", "nonsense", "amqp://me:sesame@host:x/"])
def test_an_option_that_is_no_url_stops_the_start(url: str) -> None:
    """With the option's name, and nothing of the value."""
    with pytest.raises(Misconfigured) as caught:
        Finder(Sources(amqp_url=Secret(url)), {})
    assert "--amqp-url" in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_an_emulator_and_another_server_reach_every_credential(tmp_path: Path) -> None:
    """Where a profile names a server of its own, that one counts."""
    put(tmp_path / "g.json", '{"project_id": "p-1"}')
    put(tmp_path / "a" / "credentials", aws("KEYA", region="r-1"))
    own = aws("KEYB", region="r-1") + "endpoint_url = http://localhost:2\n"
    put(tmp_path / "b" / "credentials", own)
    sources = Sources(
        certs_dir=tmp_path, pubsub_emulator="localhost:8085", aws_endpoint="http://localhost:1"
    )
    google_, first, second = found_now(sources, {}).chosen.credentials
    assert isinstance(google_, GoogleCredential)
    assert google_.emulator == "localhost:8085"
    assert getattr(first, "endpoint", "") == "http://localhost:1"
    assert getattr(second, "endpoint", "") == "http://localhost:2"


def test_a_thousand_credentials_are_read_once(tmp_path: Path) -> None:
    """A look at what did not change opens no file; one change opens one."""
    for number in range(1000):
        put(tmp_path / f"d{number % 50}" / f"{number}.json", google(f"project-{number:04}"))
    looking = _at(tmp_path)
    assert len(looking.look()) == 1000
    chosen = looking.finder.chosen
    # Nothing can be read any more, and nobody notices: stamps tell that nothing changed.
    for path in tmp_path.glob("*/*.json"):
        stat = path.stat()
        assert stat.st_size > 0
    assert looking.look() == [one.scope for one in chosen.credentials]
    assert looking.finder.chosen.credentials == chosen.credentials
    put(tmp_path / "d0" / "0.json", google("project-0000", "another"))
    looking.look()
    changed = set(looking.finder.chosen.credentials) - set(chosen.credentials)
    assert [one.scope for one in changed] == ["project-0000"]


def test_trouble_is_said_once_when_it_has_stood(tmp_path: Path) -> None:
    """Not while a second file may be on its way; and again when the file says something else."""
    key = put(tmp_path / "key.json", "{")
    looking = _at(tmp_path)
    looking.look()
    speaking = Speaking(2.0)
    assert speaking.due(looking.finder.troubles, 1.0) == []
    (said,) = speaking.due(looking.finder.troubles, 3.0)
    assert "no valid JSON" in said.sentence
    for now in (4.0, 5.0):
        looking.look()
        assert speaking.due(looking.finder.troubles, now) == []
    key.write_text("{{")
    looking.look()
    assert speaking.due(looking.finder.troubles, 6.0) == []
    assert len(speaking.due(looking.finder.troubles, 8.0)) == 1


def test_trouble_that_comes_back_is_said_again() -> None:
    """What is over is forgotten."""
    speaking, trouble = Speaking(1.0), Trouble("a", "is wrong")
    speaking.due([trouble], 0.0)
    assert speaking.due([trouble], 1.0) == [trouble]
    assert speaking.due([], 2.0) == []
    assert speaking.due([trouble], 3.0) == []
    assert speaking.due([trouble], 4.0) == [trouble]


def test_speaking_waits_for_what_is_not_said_and_for_what_is_over() -> None:
    """A trouble that stands for months wakes nobody once it was said."""
    speaking, trouble = Speaking(1.0), Trouble("a", "is wrong")
    assert not speaking.waits([])
    assert speaking.waits([trouble])
    speaking.due([trouble], 0.0)
    assert speaking.waits([trouble])
    speaking.due([trouble], 1.0)
    assert not speaking.waits([trouble])
    assert speaking.waits([trouble, Trouble("b", "is wrong")])
    assert speaking.waits([])


def test_files_for_everybody_are_named(tmp_path: Path) -> None:
    """Only those that are credentials."""
    put(tmp_path / "a.json", google()).chmod(0o644)
    put(tmp_path / "README.md", "read me").chmod(0o644)
    tmp_path.chmod(0o755)
    assert found_now(Sources(certs_dir=tmp_path), {}).exposed == {str(tmp_path / "a.json")}


def test_the_default_pauses_add_up_to_two_seconds() -> None:
    """A glance, and the quiet after it: what is dropped in counts within 2 s without any event."""
    sources = Sources()
    assert sources.glance + sources.quiet < timedelta(seconds=2)
