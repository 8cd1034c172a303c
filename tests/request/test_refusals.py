"""What would hurt in silence is refused with the field, the value and the remedy."""

from __future__ import annotations

import json
import re

import pytest

from runner.errors import BadField, Undecodable, Unsupported
from runner.model import Message
from runner.request.document import MAX_BODY
from runner.request.envelope import is_envelope
from runner.request.schema import decode
from tests.request.sample import changed, decoded, sample

LONG = "x" * 4096
E = "experiment"
W = "experiment.artifacts.workspace"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[]",
        b"17",
        b"null",
        b"\xff\xfe",
        b'{"event": "s3:TestEvent"}',
        b'{"message": "build finished"}',
        b'{"message": {"text": "hi"}}',
        b'{"experiment": {}} trailing',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"experiment":' * 50_000,
        b" " * (MAX_BODY + 1),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_no_request_at_all_is_undecodable(body: bytes) -> None:
    """Such a message belongs to somebody else and is never settled by us."""
    with pytest.raises(Undecodable, match="no StudioML request"):
        decode(Message("1", body, "q"))


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (E, None, "experiment.filename"),
        (E, 5, "experiment"),
        (E, [], "experiment"),
        ("config", "x", "config"),
        (f"{E}.filename", "", "experiment.filename"),
        (f"{E}.filename", None, "experiment.filename"),
        (f"{E}.filename", "/etc/passwd", "experiment.filename"),
        (f"{E}.filename", "../x.py", "experiment.filename"),
        (f"{E}.filename", "a/../../x.py", "experiment.filename"),
        (f"{E}.filename", "a\0b", "experiment.filename"),
        (f"{E}.filename", "a\nb", "experiment.filename"),
        (f"{E}.filename", "-c", "experiment.filename"),
        (f"{E}.filename", "./", "experiment.filename"),
        (f"{E}.filename", LONG, "experiment.filename"),
        (f"{E}.filename", ["a.py"], "experiment.filename"),
        (f"{E}.filename", "-m", "experiment.args"),
        (f"{E}.key", "", "experiment.key"),
        (f"{E}.key", "a/b", "experiment.key"),
        (f"{E}.key", "..", "experiment.key"),
        (f"{E}.key", "a\0", "experiment.key"),
        (f"{E}.key", LONG, "experiment.key"),
        (f"{E}.args", {"a": 1}, "experiment.args[0]"),
        (f"{E}.args", ["ok", None], "experiment.args[1]"),
        (f"{E}.args", ["a\0b"], "experiment.args[0]"),
        (f"{E}.args", ["x" * 200_000], "experiment.args[0]"),
        (f"{E}.args", ["x" * 100_000] * 11, "experiment.args"),
        (f"{E}.pythonver", "latest", "experiment.pythonver"),
        (f"{E}.pythonenv", ["numpy\n--index-url x"], "experiment.pythonenv[0]"),
        (f"{E}.max_duration", "soon", "experiment.max_duration"),
        (f"{E}.max_duration", "10", "experiment.max_duration"),
        (f"{E}.max_duration", "-5m", "experiment.max_duration"),
        (f"{E}.max_duration", "0", "experiment.max_duration"),
        (f"{E}.resources_needed", [], "experiment.resources_needed"),
        (f"{E}.resources_needed.cpus", -1, "experiment.resources_needed.cpus"),
        (f"{E}.resources_needed.cpus", 1.5, "experiment.resources_needed.cpus"),
        (f"{E}.resources_needed.cpus", True, "experiment.resources_needed.cpus"),
        (f"{E}.resources_needed.gpuCount", "many", "experiment.resources_needed.gpuCount"),
        (f"{E}.resources_needed.ram", "lots", "experiment.resources_needed.ram"),
        (f"{E}.resources_needed.hdd", "-3gb", "experiment.resources_needed.hdd"),
        (f"{E}.resources_needed.hdd", -3, "experiment.resources_needed.hdd"),
        (f"{E}.resources_needed.gpuMem", "3 pears", "experiment.resources_needed.gpuMem"),
        (f"{E}.artifacts", {}, "experiment.artifacts"),
        (f"{E}.artifacts", None, "experiment.artifacts"),
        (f"{E}.artifacts", {"output": {"qualified": "file:///x"}}, "experiment.artifacts"),
        (W, "file:///x", W),
        (f"{W}.mutable", "perhaps", f"{W}.mutable"),
        (f"{W}.qualified", "", f"{W}.qualified"),
        (f"{W}.qualified", "file:///a/../../etc/shadow", f"{W}.qualified"),
        (f"{W}.qualified", "file:///", f"{W}.qualified"),
        (f"{W}.qualified", "s3://host", f"{W}.key"),
        (f"{W}.qualified", "s3://host/bucket", f"{W}.key"),
        (f"{W}.qualified", "s3://host/b/../k", f"{W}.key"),
        (f"{W}.qualified", "s3://user:pw@host/b/k", f"{W}.qualified"),
        (f"{W}.url", "https://user:pw@host/k.tar", f"{W}.url"),
        (f"{W}.url", "https://[::1/k.tar", f"{W}.url"),
        ("config.env", {"": "x"}, "config.env"),
        ("config.env", {"A=B": "x"}, "config.env"),
        ("config.env", {"A\0": "x"}, "config.env"),
        ("config.env", {"A": "x\0"}, "config.env.A"),
        ("config.env", {"A": {"b": 1}}, "config.env.A"),
        ("config.env", [], "config.env"),
        ("config.runner.retry_on", "exit,whatever", "config.runner.retry_on"),
        ("config.runner.retry_on", "lifetime", "config.runner.retry_on"),
        ("config.runner.max_attempts", 0, "config.runner.max_attempts"),
        ("config.runner.max_attempts", 1000, "config.runner.max_attempts"),
        ("message", {"payload": None, "signature": "x"}, None),
    ],
)
def test_a_bad_field_is_named_by_its_path(path: str, value: object, named: str | None) -> None:
    """One line that says where, what and what instead; never longer than a screen line or four."""
    document = changed(path, value)
    if named is None:
        del document["experiment"]
        named = "message.payload"
    with pytest.raises(BadField) as caught:
        decoded(document)
    assert caught.value.path == named
    assert re.fullmatch(r".+ is .+: .+", str(caught.value))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("label", ["", ".", "..", "a/b", "a\0", "a\n", LONG, "_runner", "_home"])
def test_a_label_that_is_no_directory_name_is_refused(label: str) -> None:
    """A label becomes a directory beside the workspace."""
    document = sample()
    document[E]["artifacts"][label] = {"qualified": "file:///x"}
    with pytest.raises(BadField, match="label"):
        decoded(document)


@pytest.mark.parametrize("key", ["../x", "a/../b", "a\0", LONG, "a/" + "x" * 300])
def test_an_object_key_that_leads_elsewhere_is_refused(key: str) -> None:
    """Also where the address is put together from the storage's description."""
    artifact = {"key": key, "mutable": True}
    with pytest.raises(BadField, match="key"):
        decoded(changed(W, artifact))


@pytest.mark.parametrize("address", ["ftp://host/x", "azure://a/b", "/plain/path", "shub://x/y"])
def test_an_unknown_storage_scheme_names_scheme_and_label(address: str) -> None:
    """The sender learns which artifact it is."""
    with pytest.raises(Unsupported, match=r"'workspace'.*scheme"):
        decoded(changed(f"{W}.qualified", address))


def test_two_artifacts_that_would_overwrite_each_other_are_refused() -> None:
    """Whichever is stored last would be the only one left."""
    document = sample()
    for label in ("output", "model"):
        document[E]["artifacts"][label] = {"qualified": "file:///s/o.tar", "mutable": True}
    with pytest.raises(BadField, match="same place"):
        decoded(document)


def test_a_mutable_artifact_on_the_web_is_refused() -> None:
    """Its results could not be stored."""
    artifact = {"url": "https://host/x.tar", "mutable": True}
    with pytest.raises(BadField, match="only be read"):
        decoded(changed(W, artifact))


@pytest.mark.parametrize("version", [2, "2.7", "python2.7"])
def test_python_2_is_refused_in_one_sentence(version: object) -> None:
    """Nothing here can run it."""
    with pytest.raises(Unsupported, match="Python 2 is not supported"):
        decoded(changed(f"{E}.pythonver", version))


def test_an_encrypted_request_is_recognised_and_refused() -> None:
    """By its shape alone; what stands beside the envelope does not matter."""
    envelope = {"message": {"payload": "a,b", "resources_needed": {}}, "signature": {}}
    assert is_envelope(json.dumps(envelope).encode())
    assert not is_envelope(b'{"message": {"text": 1}}')
    assert not is_envelope(b"no")
    for document in (envelope, sample() | envelope):
        with pytest.raises(Unsupported, match="sealed"):
            decoded(document)


def test_half_a_character_is_refused() -> None:
    """A lone surrogate could be neither a file name nor an argument."""
    body = json.dumps(changed(f"{E}.args", ["\ud800"])).encode()
    with pytest.raises(BadField, match="Unicode"):
        decode(Message("1", body, "q"))


def test_depth_inside_a_request_is_no_defect_of_ours() -> None:
    """A value just shallow enough to be decoded is still refused cleanly."""
    for depth in range(300, 1000, 50):
        deep = b'{"experiment":{"filename":' + b"[" * depth + b"]" * depth + b"}}"
        with pytest.raises((BadField, Undecodable)):
            decode(Message("1", deep, "q"))
