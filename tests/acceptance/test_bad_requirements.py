"""Requirements, Pythons, arguments and variables that are wrong or that a shell would obey."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import pytest

from tests.acceptance.box import Box

#: What the daemon knows and no experiment may.
SECRET = "https://127.0.0.1:9/T0/B0/secret"
SHOW = (
    "import json, os, sys\n"
    "shown = {'args': sys.argv[1:], 'env': dict(os.environ)}\n"
    "open('../modeldir/shown', 'w').write(json.dumps(shown))\n"
)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """One machine and one daemon, which has an empty index, a Slack hook and no network."""
    with Box(tmp_path_factory.mktemp("requirements")) as box:
        (box.root / "packages").mkdir()
        variables = {"SLACK_HOOK": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET}
        box.start("--no-index", "--find-links", str(box.root / "packages"), variables=variables)
        yield box


def _traps(box: Box) -> list[str]:
    """Words that plant a file when a shell reads them."""
    trap = box.root / "planted"
    return [
        f"; touch {trap}",
        f"$(touch {trap})",
        f"`touch {trap}`",
        f"' ; touch {trap} ; '",
        f'" && touch {trap} "',
        f"x\ntouch {trap}\n",
        f"| touch {trap}",
        "; rm -rf ~",
        "$SLACK_HOOK ${SLACK_HOOK}",
        "%SLACK_HOOK%",
        "%PATH",
        'it\'s "quoted" \\ twice',
        "",
        " ",
        "*",
        "~",
        "-",
        "--",
        "\\",
        "\t\r\x1b[31m",
        "smile \U0001f600 \u00e9",
    ]


def test_arguments_arrive_byte_for_byte(box: Box) -> None:
    """As a client quotes them and bare: no shell, no expansion, nothing split."""
    for quote in (shlex.quote, str):
        traps = _traps(box)
        key = box.submit(SHOW, args=[quote(trap) for trap in traps])
        assert box.outcome(key)["cause"] == "completed"
        shown = json.loads(box.stored(key, "modeldir", "shown"))
        if quote is str:  # a word in quotes is one that a client quoted
            traps[3] = f" ; touch {box.root}/planted ; "
            traps[4] = f" && touch {box.root}/planted "
        assert shown["args"] == traps
    assert not (box.root / "planted").exists()


def test_variables_arrive_byte_for_byte(box: Box) -> None:
    """Only ``%NAME%`` of what an experiment has anyway is replaced."""
    message = box.message(SHOW)
    env = {f"TRAP_{number}": trap for number, trap in enumerate(_traps(box))}
    message["config"]["env"] = {**env, "GREETING": "hello %USER%"}
    key = box.publish(message)
    assert box.outcome(key)["cause"] == "completed"
    shown = json.loads(box.stored(key, "modeldir", "shown"))["env"]
    assert {name: shown[name] for name in env} == env
    assert shown["GREETING"] == f"hello {shown['USER']}"
    assert not (box.root / "planted").exists()


def test_what_the_daemon_knows_stays_there(box: Box) -> None:
    """Its hook and keys are not in an experiment's variables, however they are asked for."""
    message = box.message(SHOW)
    message["config"]["env"] = {"MINE": "%SLACK_HOOK%", "TOO": "%AWS_SECRET_ACCESS_KEY%"}
    key = box.publish(message)
    assert box.outcome(key)["cause"] == "completed"
    shown = json.loads(box.stored(key, "modeldir", "shown"))["env"]
    assert SECRET not in json.dumps(shown)
    assert shown["MINE"] == "%SLACK_HOOK%"
    assert "SLACK_HOOK" not in shown
    assert SECRET not in box.log()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--index-url http://x", ("'--index-url http://x'", "options are the operator's")),
        ("-r /etc/passwd", ("'-r /etc/passwd'", "options are the operator's")),
        ("--find-links=/", ("'--find-links=/'", "options are the operator's")),
        ("-e .", ("'-e .'", "only a repository can be editable")),
        ("-e /etc", ("'-e /etc'", "only a repository can be editable")),
        ("/etc/passwd", ("'/etc/passwd'", "such as numpy==1.26.4")),
        ("../../x.whl", ("'../../x.whl'", "such as numpy==1.26.4")),
        ("file:///etc/passwd", ("'file:///etc/passwd'", "such as numpy==1.26.4")),
        ("numpy; rm -rf /", ("'numpy; rm -rf /'", "such as numpy==1.26.4")),
        ("$(touch {planted})", ("such as numpy==1.26.4",)),
        ("'numpy'", ("numpy", "such as numpy==1.26.4")),
        ("%SLACK_HOOK%", ("'%SLACK_HOOK%'", "such as numpy==1.26.4")),
        ("numpy==", ("'numpy=='", "such as numpy==1.26.4")),
        ("numpy @ s3://bucket/x", ("'numpy @ s3://bucket/x'", "such as numpy==1.26.4")),
        ("git+file:///etc", ("'git+file:///etc'", "such as numpy==1.26.4")),
        ("git+ext::sh -c whoami", ("such as numpy==1.26.4",)),
    ],
)
def test_a_requirement_that_is_none_is_refused(box: Box, line: str, words: tuple[str, ...]) -> None:
    """It is buried with the line and what may be written, before anything is fetched for it."""
    message = box.message("print('never')")
    workspace = box.artifact("blobstore/nothing.tar", mutable=False)
    message["experiment"]["artifacts"]["workspace"].update(workspace)
    message["experiment"]["pythonenv"] = [line.format(planted=box.root / "planted")]
    reason = box.reason(box.publish_message(message))
    assert "pythonenv" in reason
    assert [word for word in words if word not in reason] == []
    assert not (box.root / "planted").exists()


def test_a_requirement_that_nobody_has_is_explained(box: Box) -> None:
    """The installer's own words are in the output, and what to correct."""
    key = box.submit("print('never')", pythonenv=["no-such-package-anywhere==3.14"])
    assert box.outcome(key)["cause"] == "requirements"
    output = box.output(key)
    assert "the requirements could not be installed" in output
    assert "no-such-package-anywhere" in output
    assert "Correct pythonenv or config.pip" in output
    assert "never" not in output
    assert box.ended(key)["settled"] == "acked"


def test_a_python_that_is_not_there_is_explained(box: Box) -> None:
    """The ones that are there are told."""
    key = box.submit("print('never')", pythonver="3.99")
    assert box.outcome(key)["cause"] == "python-missing"
    output = box.output(key)
    assert "3.99" in output
    assert "Ask for a Python that the runner has" in output
    assert box.ended(key)["settled"] == "acked"


def test_after_all_of_that_the_daemon_is_well(box: Box) -> None:
    """A good experiment still completes, nothing is left behind, and the log has no traceback."""
    key = box.submit("print('here')")
    assert box.outcome(key)["cause"] == "completed"
    box.wait_until_clean()
    assert box.complaints() == []
