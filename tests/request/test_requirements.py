"""The lines for the installer: the rules of the protocol, and nothing but requirements."""

from __future__ import annotations

import pytest

from runner.errors import RequestError
from runner.request.requirements import requirement_warnings, requirements
from tests.request.sample import decoded, sample


def lines(
    *given: str, pip: tuple[str, ...] = (), gpus: bool = False, dist: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return what is installed for these lines."""
    return requirements(_request(given, pip), gpus=gpus, distributions=dist)


def _request(given: tuple[str, ...], pip: tuple[str, ...] = ()):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a Request
    document = sample()
    document["experiment"]["pythonenv"] = list(given)
    document["config"]["pip"] = list(pip)
    return decoded(document)


def test_the_last_studioml_wins_and_comes_last() -> None:
    """``config.pip`` goes before ``pythonenv``."""
    assert lines("studioml==0.0.44", "six==1", pip=("studioml==0.0.49",)) == (
        "six==1",
        "studioml==0.0.49",
    )


def test_a_studioml_in_the_workspace_replaces_any_other() -> None:
    """The lexically last archive, also where none was asked for."""
    names = ("studioml-0.0.9.tar.gz", "studioml-0.0.49.tar.gz", "other-1.tar.gz", "studioml-x.whl")
    dist = tuple(f"/w/dist/{name}" for name in names)
    assert lines("six", dist=dist) == ("six", "/w/dist/studioml-0.0.9.tar.gz")
    assert lines("studioml==1", dist=dist) == ("/w/dist/studioml-0.0.9.tar.gz",)


def test_a_package_that_no_index_has_is_dropped() -> None:
    """Debian's pip lists it."""
    assert lines("pkg-resources==0.0.0", "pkg_resources==0.0.0", "six") == ("six",)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tensorflow==1.15.0", "tensorflow_gpu==1.15.0"),
        ("tensorflow==1.*", "tensorflow_gpu==1.*"),
        ("tensorflow==2.0.3", "tensorflow_gpu==2.0.3"),
        ("tensorflow==2.1.0", "tensorflow==2.1.0"),
        ("tensorflow==2.16.1", "tensorflow==2.16.1"),
        ("tensorflow==2.*", "tensorflow==2.*"),
        ("tensorflow>=1.0", "tensorflow>=1.0"),
        ("tensorflow", "tensorflow"),
        ("tensorflow-probability==0.8", "tensorflow-probability==0.8"),
    ],
)
def test_only_old_pins_of_tensorflow_need_a_package_of_their_own(line: str, expected: str) -> None:
    """From 2.1 on the plain package holds GPU support, and the other one is empty."""
    assert lines(line, gpus=True) == (expected,)
    assert lines(line, gpus=False) == (line,)


def test_a_tensorflow_for_gpus_that_is_there_suffices() -> None:
    """Either spelling."""
    for name in ("tensorflow_gpu==1.15", "tensorflow-gpu==1.15"):
        assert lines(name, "tensorflow==1.15", gpus=True) == (name, "tensorflow==1.15")


@pytest.mark.parametrize(
    "line",
    [
        "numpy",
        "numpy==1.26.4",
        "numpy>=1.0,<2",
        "requests[socks]>=2",
        "foo==1.0 ; python_version < '3.9'",
        "torch==2.3.0+cu121",
        "pip==23.2.1",
        "setuptools==65.5.0",
        "git+https://github.com/x/y.git@main#egg=y",
        "git+ssh://git@github.com/x/y",
        "y @ git+https://github.com/x/y",
        "y @ https://host/y-1.0-py3-none-any.whl",
        "https://host/y-1.0-py3-none-any.whl",
        "-e git+https://github.com/x/y#egg=y",
    ],
)
def test_what_pip_freeze_writes_is_kept(line: str) -> None:
    """Packages, addresses and repositories."""
    assert lines(line) == (line,)


def test_long_options_for_editables_and_comments_are_understood() -> None:
    """Freeze writes comments above editables."""
    assert lines("--editable git+https://h/x", "# a comment", "six  # why") == (
        "-e git+https://h/x",
        "six",
    )


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://evil/simple",
        "-r other.txt",
        "-i https://evil",
        "--extra-index-url=https://evil",
        "-e /home/me/project",
        "-e .",
        "-e file:///home/me",
        "-e git+file:///home/me",
        "./local",
        "/abs/path",
        "../up",
        "file:///etc/passwd",
        "y @ ftp://host/y",
        "git+file:///x",
        "a; rm -rf /",
        "$(touch /tmp/x)",
        "`id`",
        "foo bar",
        "foo==1 --hash=sha256:abc",
        "foo==",
    ],
)
def test_anything_else_is_refused_and_named(line: str) -> None:
    """Options are the operator's, files are this machine's."""
    with pytest.raises(RequestError) as caught:
        lines("six", line)
    assert line[:60] in str(caught.value)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("packaging @ file:///croot/packaging_1693575178038/work", "packaging"),
        ("foo @ file:///w/foo-1.2-py3-none-any.whl", "foo==1.2"),
        ("foo[bar] @ file:///w/foo-1.2.tar.gz#sha256=0", "foo[bar]==1.2"),
    ],
)
def test_files_of_the_submitters_machine_become_packages(line: str, expected: str) -> None:
    """That is what a freeze inside conda looks like; the output says so."""
    assert lines(line) == (expected,)
    assert "submitter's machine" in requirement_warnings(_request((line,)))[0]


def test_the_later_of_two_pins_is_installed() -> None:
    """``config.pip`` is installed after ``pythonenv``, so it has the last word."""
    assert lines("numpy==1.0", "six", pip=("NumPy==2.0",)) == ("six", "NumPy==2.0")
    assert "NumPy==2.0" in requirement_warnings(_request(("numpy==1.0",), ("NumPy==2.0",)))[0]
    assert lines("numpy>=1", "numpy<2", "numpy<2") == ("numpy>=1", "numpy<2")
