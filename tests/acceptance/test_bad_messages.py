"""Messages that are no requests, or bad ones, through one daemon: refused by name, nothing run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.acceptance.box import Box, Json, until

#: Names that must not become parts of paths, with what a person is told about them.
BAD_NAMES = {
    "upwards": ("../x", ("..",)),
    "nul": ("a\0b", ("NUL",)),
    "long": ("x" * 4096, ("bytes at most", "(4096 characters)")),
}
Edit = Callable[[Json], Any]

FOREIGN = {
    "text": b"hello, is this the printer?",
    "empty": b"",
    "cut": b'{"experiment": {"key": "k", "filena',
    "binary": bytes(range(256)),
    "list": b"[1, 2, 3]",
    "number": b"42",
    "another-object": b'{"order": 17, "customer": "c"}',
    "deep": b"[" * 100_000,
    "wide-zeros": bytes(1 << 20),
}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """One machine and one daemon for all messages of this file."""
    with Box(tmp_path_factory.mktemp("messages")) as box:
        box.start()
        yield box


def _set(*path: str, to: object) -> Edit:
    def edit(message: Json) -> None:
        place = message
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = to

    return edit


def _experiment(**fields: object) -> Edit:
    return lambda message: message["experiment"].update(fields)


def _artifact(**fields: object) -> Edit:
    return lambda message: message["experiment"]["artifacts"]["workspace"].update(fields)


def _labelled(label: str) -> Edit:
    def edit(message: Json) -> None:
        artifacts = message["experiment"]["artifacts"]
        artifacts[label] = {**artifacts["modeldir"], "mutable": False}

    return edit


def _needs(**fields: object) -> Edit:
    return lambda message: message["experiment"]["resources_needed"].update(fields)


REFUSED: dict[str, tuple[Edit, tuple[str, ...]]] = {
    "experiment-is-text": (_set("experiment", to="train.py"), ("experiment is 'train.py'",)),
    "experiment-is-null": (_set("experiment", to=None), ("experiment.filename is ''",)),
    "experiment-is-empty": (_set("experiment", to={}), ("experiment.filename is ''", "missing")),
    "config-is-a-list": (_set("config", to=[1]), ("config is [1]", "JSON object")),
    "no-filename": (_experiment(filename=None), ("experiment.filename is ''", "missing")),
    "filename-of-spaces": (_experiment(filename="./"), ("experiment.filename is './'",)),
    "filename-is-an-object": (_experiment(filename={}), ("experiment.filename", "a string")),
    "filename-is-absolute": (
        _experiment(filename="/etc/passwd"),
        ("experiment.filename is '/etc/passwd'", "relative to the workspace"),
    ),
    "filename-is-an-option": (_experiment(filename="-c"), ("experiment.filename", "./-c")),
    "no-key": (_experiment(key=None), ("experiment.key is ''", "missing")),
    "duration-is-a-word": (
        _experiment(max_duration="soon"),
        ("experiment.max_duration is 'soon'", "20m"),
    ),
    "duration-is-negative": (_experiment(max_duration="-5m"), ("max_duration is '-5m'", "20m")),
    "duration-is-endless": (_experiment(max_duration="9" * 99 + "h"), ("max_duration", "48h")),
    "cores-are-a-word": (_needs(cpus="many"), ("resources_needed.cpus is 'many'", "such as 1")),
    "cores-are-negative": (_needs(cpus=-1), ("resources_needed.cpus is -1", "not negative")),
    "memory-is-a-word": (_needs(ram="lots"), ("resources_needed.ram is 'lots'", "16gib")),
    "memory-is-endless": (_needs(ram="9" * 40), ("resources_needed.ram", "16gib")),
    "args-hold-nul": (_experiment(args=["a\0b"]), ("experiment.args[0]", "NUL")),
    "args-are-objects": (_experiment(args=[{}]), ("experiment.args[0]", "a string")),
    "an-argument-is-huge": (_experiment(args=["x" * 200_000]), ("args[0]", "131071 bytes")),
    "env-name-with-equals": (_set("config", "env", to={"A=B": "c"}), ("config.env", "no =")),
    "env-value-with-nul": (_set("config", "env", to={"A": "b\0"}), ("config.env.A", "NUL")),
    "python-2": (_experiment(pythonver="2.7"), ("pythonver is '2.7'", "Python 2", "3.11")),
    "python-is-a-path": (_experiment(pythonver="/bin/sh"), ("pythonver is '/bin/sh'", "3.11")),
    "a-requirement-with-newline": (
        _experiment(pythonenv=["numpy\n--index-url http://x"]),
        ("experiment.pythonenv[0]", "line ends"),
    ),
    "a-requirement-is-an-object": (_experiment(pythonenv=[{}]), ("pythonenv[0]", "a string")),
    "scheme-unknown": (
        _artifact(qualified="ftp://host/data.tar"),
        ("artifact 'workspace'", "'ftp'", "known: file"),
    ),
    "scheme-without-name": (_artifact(qualified="//x"), ("artifacts.workspace", "scheme")),
    "workspace-is-nowhere": (_set("experiment", "artifacts", to={}), ("artifacts", "workspace")),
    "retried-for-nonsense": (
        _set("config", "runner", to={"retry_on": ["everything"]}),
        ("config.runner.retry_on", "'everything'", "exit"),
    ),
}
for _kind, (_name, _words) in BAD_NAMES.items():
    REFUSED |= {
        f"key-{_kind}": (_experiment(key=_name), ("experiment.key", *_words)),
        f"filename-{_kind}": (_experiment(filename=_name), ("experiment.filename", *_words)),
        f"label-{_kind}": (_labelled(_name), ("experiment.artifacts label", *_words[:1])),
        f"artifact-key-{_kind}": (
            _artifact(qualified=f"s3://host/bucket/{_name}", bucket="bucket", key=_name),
            ("experiment.artifacts.workspace", *_words[:1]),
        ),
        f"artifact-file-{_kind}": (
            _artifact(qualified=f"file:///store/{_name}/x", key=None),
            ("experiment.artifacts.workspace.qualified", *_words[:1]),
        ),
    }


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_request_is_buried_with_a_reason(box: Box, case: str) -> None:
    """The dead letter is the message as it came; its reason names field, value and remedy."""
    edit, words = REFUSED[case]
    message = box.message("print('never')")
    edit(message)
    name = box.publish_message(message)
    reason = box.reason(name)
    assert [word for word in words if word not in reason] == []
    assert len(reason) < 500
    assert "\n" not in reason
    assert box.ended(name)["cause"] == "bad-request"
    assert (box.queues / ".studio-runner/local_test/dead" / name).read_text() == json.dumps(message)


@pytest.mark.parametrize("case", FOREIGN)
def test_what_is_no_request_is_never_touched(box: Box, case: str) -> None:
    """It goes back to its queue as it came, out of the way for a while, and nobody acks it."""
    queue = f"local_foreign_{case}"
    (box.queues / queue).mkdir()
    box.publish_bytes(FOREIGN[case], queue)
    ending = box.ended(queue)
    assert (ending["cause"], ending["settled"]) == ("not-a-request", "released")
    assert "the message is no StudioML request: it" in ending["detail"]
    assert len(ending["detail"]) < 500
    delayed = list((box.queues / ".studio-runner" / queue / "delayed").iterdir())
    assert [file.read_bytes() for file in delayed] == [FOREIGN[case]]
    assert box.dead(queue) == []


def test_a_message_of_many_gigabytes_is_not_read(box: Box) -> None:
    """It goes back like any stranger, and has never been in the daemon's memory."""
    (box.queues / "local_huge").mkdir()
    draft = box.root / "draft"
    with draft.open("wb") as file:
        file.truncate(8 << 30)
    draft.rename(box.queues / "local_huge" / "message")
    ending = box.ended("local_huge")
    assert (ending["key"], ending["cause"]) == ("message", "not-a-request")
    assert "longer than the 16,777,216 bytes" in ending["detail"]
    assert box.peak_memory() < 300 << 20  # a few copies of what may be read of it


def test_a_queue_of_strangers_is_set_aside(box: Box) -> None:
    """After three messages that are no requests nothing more is taken, and that is said once."""
    queue = "local_strangers"
    (box.queues / queue).mkdir()
    for number in range(5):
        box.publish_bytes(b'{"order": %d}' % number, queue)
    said = f"queue {queue} is set aside"
    until(lambda: said in box.log() or None, "setting aside", box.log)
    good = box.submit("print('here')")
    assert box.outcome(good)["cause"] == "completed"
    assert box.log().count(said) == 1
    assert len(box.waiting(queue)) == 2
    assert len(list((box.queues / ".studio-runner" / queue / "delayed").iterdir())) == 3


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        ({"cpus": 500}, ("500 cores", "there are")),
        ({"ram": "9eib"}, ("of memory", "there are")),
        ({"hdd": "9eib"}, ("of disk", "there are")),
        ({"gpus": 1, "gpuCount": 1}, ("1 GPU", "here are none: ")),
    ],
)
def test_what_no_machine_has_is_left_to_others(
    box: Box, needs: Json, words: tuple[str, ...]
) -> None:
    """The message goes back, uncounted, with what is asked for and what there is."""
    message = box.message("print('never')")
    message["experiment"]["resources_needed"].update(needs)
    key = box.publish(message)
    ending = box.ended(key)
    assert (ending["cause"], ending["settled"]) == ("too-big", "released")
    assert [word for word in words if word not in ending["detail"]] == []
    assert box.claim(key) is None


def test_after_all_of_that_the_daemon_is_well(box: Box) -> None:
    """A good experiment still completes, nothing is left behind, and the log has no traceback."""
    key = box.submit("print('here')")
    assert box.outcome(key)["cause"] == "completed"
    box.wait_until_clean()
    assert box.complaints() == []
