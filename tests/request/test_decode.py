"""What real and sloppy clients send is understood."""

from __future__ import annotations

import json
import shlex
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import RequestError
from runner.model import Credentials, Message, Needs
from runner.redaction import Secret
from runner.request.schema import decode
from tests.request.sample import changed, decoded, sample

CAPTURES = sorted((Path(__file__).parent / "captures").glob("*.body.json"))


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_every_captured_message_decodes(path: Path) -> None:
    """Messages of real clients, byte for byte."""
    request = decode(Message("1", path.read_bytes(), "q"))
    assert request.experiment.requirements
    assert request.artifacts["workspace"].mutable is False
    assert request.artifacts["output"].mutable is True
    assert request.checkpoint_interval == timedelta(minutes=1)
    assert request.env["TRIAL_FOO"] == "bar"


def _capture(name: str) -> bytes:
    return (Path(__file__).parent / "captures" / f"{name}.body.json").read_bytes()


def test_quoted_arguments_are_unquoted_and_others_stay() -> None:
    """The client quotes each argument for a shell that does not exist here."""
    request = decode(Message("1", _capture("sqs_hello"), "q"))
    assert request.experiment.args == ("--alpha=1", "beta", "two words", 'q"uo$te')
    assert request.experiment.max_duration == timedelta(minutes=90)


def test_reused_and_fetched_artifacts_of_a_real_client_are_understood() -> None:
    """``unpack: null`` with an archive's name, no credentials, a bare url."""
    artifacts = decode(Message("1", _capture("sqs_hello"), "q")).artifacts
    assert artifacts["reused"].unpack
    assert artifacts["reused"].credentials is None
    assert str(artifacts["httpart"].location) == "http://127.0.0.1:15900/moto-api/data.json"
    assert not artifacts["httpart"].unpack
    keys = artifacts["workspace"].credentials
    assert keys is not None
    assert keys.access_key == "AKIATRIALACCESSKEY00"
    assert keys.secret_key.reveal().startswith("trialsecret")
    assert keys.region == "us-west-2"


def test_local_artifacts_of_a_real_client_get_absolute_paths() -> None:
    """``file://home/x`` means ``/home/x``."""
    artifacts = decode(Message("1", _capture("local_hello"), "q")).artifacts
    path = "/home/guest/lstore/storage/experiments/trial_local_hello/output.tar"
    assert str(artifacts["output"].location) == f"file://{path}"


def test_the_module_form_is_kept() -> None:
    """``-m`` with the module as first argument."""
    experiment = decode(Message("1", _capture("local_module"), "q")).experiment
    assert (experiment.filename, experiment.args) == ("-m", ("sub.mod", "a"))


def test_a_request_for_gpus_is_understood() -> None:
    """``gpuCount`` arrives as a string."""
    needs = decode(Message("1", _capture("rmq_gpu"), "q")).needs
    assert needs == Needs(4, 8 * 10**9, 10**10, 1, 2 * 10**9, 1)  # type: ignore[arg-type]


def test_gpu_memory_beside_gpus_0_asks_for_no_card_and_says_so() -> None:
    """A client sends its configured ``gpuMem`` also with experiments that want no GPU."""
    request = decode(Message("1", _capture("rmq_hello"), "q"))
    assert request.needs.gpu_count == 0
    assert request.needs.gpu_memory == 0
    assert "gpuMem" in request.warnings[0]


@pytest.mark.parametrize("value", [2, "2", 2.0, "2.0", " 2 "])
def test_numbers_may_be_written_as_text(value: object) -> None:
    """The documentation itself shows ``"gpuCount": "1"``."""
    assert decoded(changed("experiment.resources_needed.cpus", value)).needs.cores == 2


def test_members_are_found_in_any_case() -> None:
    """The exact name goes first, then any spelling."""
    document = sample()
    document["Experiment"] = document.pop("experiment")
    document["Experiment"]["FileName"] = document["Experiment"].pop("filename")
    document["Experiment"]["resources_needed"]["CPUS"] = 7
    request = decoded(document)
    assert request.experiment.filename == "train.py"
    assert request.needs.cores == 1


def test_missing_memory_and_disk_are_no_need_with_a_warning() -> None:
    """Empty, null and absent alike."""
    document = changed("experiment.resources_needed", {"cpus": 1, "ram": "", "hdd": None})
    request = decoded(document)
    assert (request.needs.memory, request.needs.disk) == (0, 0)
    assert len(request.warnings) == 2


def test_slots_or_gpu_memory_ask_for_one_card() -> None:
    """``gpuCount`` 0 means 1 as soon as a GPU is wanted at all."""
    assert decoded(changed("experiment.resources_needed.gpus", 2)).needs.gpu_count == 1
    document = changed("experiment.resources_needed", {"gpuMem": "4gb", "ram": "1", "hdd": "1"})
    assert decoded(document).needs.gpu_count == 1
    assert decoded(document).warnings == ()
    document = changed("experiment.resources_needed", {"gpuCount": "3", "ram": "1", "hdd": "1"})
    assert decoded(document).needs.gpu_count == 3
    assert decoded(sample()).needs.gpu_count == 0


def test_gpus_0_asks_for_no_card_whatever_the_count() -> None:
    """``gpuCount`` may come from a configuration that is meant for other experiments."""
    needs = {"gpus": 0, "gpuCount": "1", "gpuMem": "2G", "ram": "1", "hdd": "1"}
    request = decoded(changed("experiment.resources_needed", needs))
    assert (request.needs.gpu_count, request.needs.gpu_memory, request.needs.gpu_slots) == (0, 0, 0)
    assert [text.partition(" ")[0].rpartition(".")[2] for text in request.warnings] == [
        "gpuMem",
        "gpuCount",
    ]


@pytest.mark.parametrize("name", ["secret_key", "secret_access_key", "Secret_Access_Key"])
def test_either_spelling_of_the_secret_key_is_read(name: str) -> None:
    """The documentation and the code of the original differ."""
    keys = {"aws": {"access_key": "A", name: "S"}}
    artifact = {"qualified": "s3://h/b/k.tar", "credentials": keys}
    found = decoded(changed("experiment.artifacts.workspace", artifact)).artifacts["workspace"]
    assert found.credentials == Credentials("A", Secret("S"))


def test_empty_keys_mean_anonymous_access_and_none_mean_none() -> None:
    """Both are said differently on the wire, and mean different things."""
    where = "experiment.artifacts.workspace.credentials"
    keys = {"aws": {"access_key": "", "secret_access_key": ""}}
    assert decoded(changed(where, keys)).artifacts["workspace"].credentials == Credentials()
    for nothing in (None, {}, {"aws": None}):
        assert decoded(changed(where, nothing)).artifacts["workspace"].credentials is None


def test_login_and_token_credentials_are_read() -> None:
    """The two other forms of the protocol."""
    where = "experiment.artifacts.workspace.credentials"
    plain = decoded(changed(where, {"plain": {"user": "u", "password": "p"}}))
    assert plain.artifacts["workspace"].credentials == Credentials("u", Secret("p"))
    token = decoded(changed(where, {"jwt": {"token": "t"}}))
    assert token.artifacts["workspace"].credentials == Credentials(session_token=Secret("t"))


def test_keys_are_never_shown() -> None:
    """Neither by the request nor by an error about them."""
    keys = {"aws": {"access_key": "AKIA", "secret_access_key": "hush-hush"}}
    where = "experiment.artifacts.workspace.credentials"
    assert "hush" not in repr(decoded(changed(where, keys)))
    for bad in ({"aws": {"secret_key": ["hush-hush"]}}, "hush-hush", {"aws": "hush-hush"}):
        with pytest.raises(RequestError) as caught:
            decoded(changed(where, bad))
        assert "hush" not in str(caught.value)


def test_a_firebase_database_decodes() -> None:
    """Its status is not written, but the experiment runs."""
    database = {"type": "firebase", "apiKey": "x", "messagingSenderId": 1, "credentials": "file"}
    assert decoded(changed("config.database", database)).database.type == "firebase"


def test_requirements_come_in_order_and_may_be_missing() -> None:
    """``pythonenv`` first, then ``config.pip``, which is null in real messages."""
    document = changed("config.pip", ["b==2"])
    document["experiment"]["pythonenv"] = ["a==1", ""]
    assert decoded(document).experiment.requirements == ("a==1", "b==2")
    assert decoded(changed("config.pip", None)).experiment.requirements == ()


@pytest.mark.parametrize("text", ["soon", "", "0", "-1m", "10", 5, "1d"])
def test_intervals_that_are_none_are_ignored_with_a_warning(text: object) -> None:
    """A lifetime or an interval that cannot be read does not stop an experiment."""
    for name in ("experimentLifetime", "saveWorkspaceFrequency"):
        request = decoded(changed(f"config.{name}", text))
        assert request.lifetime is None
        assert request.checkpoint_interval is None
        assert text == "" or f"config.{name}" in request.warnings[0]


def test_wishes_about_retries_are_read() -> None:
    """``config.runner`` is ours: a list or a text with commas."""
    document = changed("config.runner", {"retry_on": "exit, time-limit", "max_attempts": "5"})
    request = decoded(document)
    assert request.retry_on == {"exit", "time-limit"}
    assert request.max_attempts == 5
    assert decoded(changed("config.runner.retry_on", ["exit"])).retry_on == {"exit"}


@pytest.mark.parametrize(
    ("written", "version"),
    [("3.11", "3.11"), (3.11, "3.11"), (3, "3"), ("python3.8", "3.8"), (3.1, "3.10"), (None, None)],
)
def test_python_versions_are_read_as_text_and_number(written: object, version: object) -> None:
    """A number loses the zero of 3.10; nobody means 3.1."""
    assert decoded(changed("experiment.pythonver", written)).experiment.python_version == version


def test_time_stamps_that_are_none_are_left_out() -> None:
    """Zero and small numbers are what clients write who have none."""
    assert decoded(changed("experiment.time_added", 1.5e9)).experiment.time_added == 1.5e9
    assert decoded(changed("experiment.time_added", "1.5e9")).experiment.time_added == 1.5e9
    nothings: list[object] = [None, 0, 9.9, "yesterday", []]
    for nothing in nothings:
        assert decoded(changed("experiment.time_added", nothing)).experiment.time_added is None


def test_the_project_means_nothing_and_stops_nothing() -> None:
    """It is shown, so it fits on a line."""
    assert decoded(changed("experiment.project", "a\nb")).experiment.project == "a b"
    for odd in (None, {"x": 1}, [1], True):
        assert decoded(changed("experiment.project", odd)).experiment.project == ""


def test_python_clients_may_write_nan_and_a_byte_order_mark() -> None:
    """Neither is JSON, both are met."""
    text = json.dumps(changed("experiment.metric", float("nan")))
    assert decode(Message("1", b"\xef\xbb\xbf" + text.encode(), "q")).experiment.key == "exp1"


def test_values_of_variables_may_be_numbers() -> None:
    """A YAML configuration makes them so."""
    assert decoded(changed("config.env", {"A": 1, "B": None, "C": "%A%"})).env == {
        "A": "1",
        "B": "",
        "C": "%A%",
    }


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50))
def test_what_the_client_quotes_arrives_as_it_was(arg: str) -> None:
    """shlex.quote is what the client does to each argument."""
    assert decoded(changed("experiment.args", [shlex.quote(arg)])).experiment.args == (arg,)


@pytest.mark.parametrize(
    "arg", ["two words", "it's", "'a' 'b'", '{"lr": 0.1}', "'", "a\\b", "$(x)"]
)
def test_what_is_not_one_quoted_word_is_left_as_it_is(arg: str) -> None:
    """Nothing is split and nothing is expanded."""
    assert decoded(changed("experiment.args", [arg])).experiment.args == (arg,)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
MEMBERS = [
    "experiment",
    "config",
    *(f"experiment.{n}" for n in (
        "key", "filename", "args", "artifacts", "resources_needed", "max_duration", "pythonver",
        "pythonenv", "project", "time_added", "artifacts.workspace",
        "artifacts.workspace.qualified",
        "artifacts.workspace.credentials", "artifacts.workspace.unpack", "artifacts.workspace.url",
        "artifacts.workspace.key", "artifacts.workspace.bucket", "resources_needed.ram",
    )),
    *(f"config.{n}" for n in (
        "env", "pip", "storage", "database", "runner", "runner.retry_on", "runner.max_attempts",
        "experimentLifetime", "saveWorkspaceFrequency", "storage.credentials",
    )),
]  # fmt: skip


@given(st.sampled_from(MEMBERS), json_values)
def test_any_value_anywhere_is_a_request_or_a_request_error(path: str, value: object) -> None:
    """Nothing a sender writes is a defect of ours, and every error is one line."""
    try:
        request = decoded(changed(path, value))
    except RequestError as error:
        assert str(error).isprintable()  # noqa: PT017 - only if it is refused
    else:
        assert request.experiment.filename


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_error(body: bytes) -> None:
    """No message is strange enough to be a defect of ours."""
    with pytest.raises(RequestError):
        decode(Message("1", body, "q"))


def test_a_request_is_a_value() -> None:
    """Equal messages give equal requests, which nobody changes."""
    assert decoded(sample()) == decoded(sample())
    with pytest.raises(TypeError):
        decoded(sample()).artifacts["x"] = None  # type: ignore[index]


@pytest.mark.parametrize(
    ("written", "read", "warned"),
    [
        ("#lab", "#lab", False),
        (" @ada ", "@ada", False),
        ("", "", False),
        (None, "", False),
        (7, "", True),
        ("#lab\nx", "", True),
        ("#" * 82, "", True),
    ],
)
def test_a_wish_for_a_channel_costs_nobody_an_experiment(
    written: object, read: str, warned: object
) -> None:
    """What cannot be a channel of Slack is not followed, and said in the output."""
    request = decoded(changed("config.runner.slack_destination", written))
    assert request.slack_destination == read
    assert any("slack_destination" in text for text in request.warnings) is warned
