"""What files and ConfigMaps say about claiming is followed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.app.kubernetes import Cluster, ConfigMaps
from runner.app.state import Follower, StateFile, places
from runner.errors import Unavailable
from runner.lifecycle.claiming.suspension import Intent, Suspension
from runner.settings import Settings
from tests.servers.certificates import self_signed
from tests.servers.web import Asked, Reply, WebServer

pytestmark = pytest.mark.anyio


class Mounted:
    """A directory as the kubelet makes it: the key is a link through a link that is swapped."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._version = 0
        (root / "STATE").symlink_to("..data/STATE")

    def swap(self, text: str) -> None:
        """Replace what is mounted, in one step."""
        self._version += 1
        fresh = self.root / f"..{self._version}"
        fresh.mkdir()
        (fresh / "STATE").write_text(text)
        (self.root / "..new").symlink_to(fresh.name)
        (self.root / "..new").rename(self.root / "..data")


class Api:
    """A cluster's API server with ConfigMaps of one namespace."""

    def __init__(self) -> None:
        self.maps: dict[str, dict[str, str]] = {}
        self.status = 200
        #: Said instead of any ConfigMap.
        self.instead = b""

    def answer(self, asked: Asked) -> Reply:
        """Answer as Kubernetes does."""
        _, _, name = asked.target.rpartition("/")
        if asked.headers["authorization"] != "Bearer token-of-today":
            return Reply(401)
        if self.status != 200:
            return Reply(self.status, body=b'{"kind": "Status"}')
        if self.instead:
            return Reply(body=self.instead)
        if name not in self.maps:
            return Reply(404, body=b'{"kind": "Status"}')
        return Reply(body=json.dumps({"kind": "ConfigMap", "data": self.maps[name]}).encode())


@pytest.fixture
def api() -> Api:
    """The cluster's state."""
    return Api()


@pytest.fixture
def server(api: Api, tmp_path: Path) -> Iterator[WebServer]:
    """Its server, which only those trust who know the cluster's authority."""
    context, authority = self_signed(tmp_path)
    authority.rename(tmp_path / "ca.crt")
    with WebServer(api.answer, context).serving() as server:
        yield server


@pytest.fixture
def maps(server: WebServer, tmp_path: Path) -> ConfigMaps:
    """What a pod of this cluster reads."""
    (tmp_path / "token").write_text("token-of-today\n")
    (tmp_path / "namespace").write_text("lab\n")
    return ConfigMaps(Cluster(server.url, tmp_path), "", ("node-7", "everybody"))


async def test_a_mounted_key_is_followed_through_its_links(tmp_path: Path) -> None:
    """A swap is seen at the next look, and a file that is gone means Running."""
    mounted = Mounted(tmp_path)
    follower = Follower(StateFile(tmp_path / "STATE"), suspension := Suspension(), 1)
    await follower.look()
    assert not suspension.said
    for text, by, ends in (
        ("DrainAndSuspend", True, False),
        ("DrainAndTerminate\n", True, True),
        ("Running", False, False),
        ("DrainAndSuspend", True, False),
        ("", False, False),
    ):
        mounted.swap(text)
        await follower.look()
        assert (bool(suspension.by), suspension.wants_end) == (by, ends)


async def test_an_unknown_word_is_told_once_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the original: what is not understood leaves things as they are."""
    file = tmp_path / "STATE"
    follower = Follower(StateFile(file), suspension := Suspension(), 1)
    file.write_text("DrainAndSuspend")
    await follower.look()
    file.write_text("drain please")
    await follower.look()
    await follower.look()
    assert suspension.by == (f"STATE in {file}",)
    assert capsys.readouterr().out.count("stays as it was") == 1


async def test_a_file_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    """A directory in its place is somebody's mistake, and no wish."""
    file = tmp_path / "STATE"
    file.write_text("DrainAndSuspend")
    follower = Follower(StateFile(file), suspension := Suspension(), 1)
    await follower.look()
    file.unlink()
    file.mkdir()
    await follower.look()
    assert suspension.said


def test_the_hosts_own_configmap_wins(api: Api, maps: ConfigMaps, server: WebServer) -> None:
    """Without a word of its own it goes by the one for all; no ConfigMap is no opinion."""
    assert maps.read() == ""
    api.maps["everybody"] = {"STATE": "DrainAndTerminate"}
    api.maps["node-7"] = {"OTHER": "x"}
    assert maps.read() == "DrainAndTerminate"
    api.maps["node-7"] = {"STATE": "Running\n"}
    assert maps.read() == "Running"
    assert server.asked[-1].target == "/api/v1/namespaces/lab/configmaps/node-7"


async def test_a_missing_right_is_named_once_and_changes_nothing(
    api: Api, maps: ConfigMaps, capsys: pytest.CaptureFixture[str]
) -> None:
    """The operator learns what to allow; the wish of before stays."""
    follower = Follower(maps, suspension := Suspension(), 1)
    api.maps["everybody"] = {"STATE": "DrainAndSuspend"}
    await follower.look()
    api.status = 403
    await follower.look()
    await follower.look()
    assert suspension.said
    assert capsys.readouterr().out.count("the verb get on the resource configmaps") == 1


def test_nobody_else_is_given_the_token(maps: ConfigMaps, server: WebServer) -> None:
    """A server of another authority is not asked."""
    other = maps.cluster.account / "other"
    other.mkdir()
    _, authority = self_signed(other)
    authority.replace(maps.cluster.account / "ca.crt")
    with pytest.raises(Unavailable, match="does not answer"):
        maps.read()
    assert server.asked == []


async def test_an_api_that_is_away_changes_nothing(tmp_path: Path) -> None:
    """Whatever it is: no server, no token, an answer that is none."""
    gone = ConfigMaps(Cluster("http://127.0.0.1:9", tmp_path), "lab", ("everybody",))
    suspension = Suspension()
    suspension.wish(gone.name, Intent.SUSPEND)
    await Follower(gone, suspension, 1).look()
    (tmp_path / "token").write_text("token-of-today")
    await Follower(gone, suspension, 1).look()
    with WebServer(lambda _: Reply(body=b"<html>")).serving() as server:
        strange = ConfigMaps(Cluster(server.url, tmp_path), "lab", ("everybody",))
        await Follower(strange, suspension, 1).look()
    assert suspension.by == (gone.name,)


def test_only_what_is_asked_for_is_followed(tmp_path: Path) -> None:
    """No daemon asks a cluster's API unless its operator says so."""
    environ = {"HOME": str(tmp_path)}
    assert places(Settings.load([], environ)) == []
    settings = Settings.load(["--state-file", "/x/STATE", "--k8s-configmap", "all"], environ)
    assert [place.name for place, _ in places(settings, lambda: None)] == ["STATE in /x/STATE"]
    found = places(settings, lambda: Cluster("https://10.0.0.1:443"))
    assert found[1][0].name.endswith(" or all")


@pytest.mark.parametrize("body", [b"[]", b'{"data": []}', b'{"data": null}', b"{}"])
def test_an_answer_of_another_form_says_nothing(api: Api, maps: ConfigMaps, body: bytes) -> None:
    """Whatever stands between us and the API server: the daemon does not end of it."""
    api.instead = body
    assert maps.read() == ""
