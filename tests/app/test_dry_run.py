"""What ``run --dry-run`` tells: for each source what is taken, what is left, and why."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from runner.app.dry_run import plan
from runner.errors import Misconfigured
from runner.settings import Settings
from tests.request.sample import changed
from tests.servers.moto_sqs import Sqs
from tests.servers.nvml import Card, Nvml
from tests.servers.s3 import S3Server

pytestmark = pytest.mark.anyio


def settings_of(root: Path, *more: str) -> Settings:
    """Return settings that stay below a directory."""
    argv = [
        *("--queue-root", str(root / "queues"), "--certs-dir", str(root / "certs")),
        *("--state-dir", str(root / "state"), "--working-dir", str(root), *more),
    ]
    return Settings.load(argv, {"HOME": str(root)})


def aws(root: Path, endpoint: str) -> None:
    """Put a credential down."""
    place = root / "certs" / "lab"
    place.mkdir(parents=True)
    (place / "credentials").write_text(
        "[default]\naws_access_key_id = AKIATESTTESTTEST0001\naws_secret_access_key = secret\n"
        f"region = us-west-2\nendpoint_url = {endpoint}\n"
    )


async def lines_of(settings: Settings) -> list[str]:
    """Return the plan."""
    return [line async for line in plan(settings)]


async def test_local_queues_are_told_with_what_is_left_and_why(tmp_path: Path) -> None:
    """Each message that waits, each queue that is not taken, and the option that would take it."""
    for name in ("local_a", "theirs", "local_a_response"):
        (tmp_path / "queues" / name).mkdir(parents=True)
    (tmp_path / "queues" / "local_a" / "m").write_text(json.dumps({"what": "ever"}))
    lines = await lines_of(settings_of(tmp_path))
    assert any("1 taken, 2 left" in line for line in lines)
    assert any("local_a: 1 waiting" in line for line in lines)
    assert any("would refuse m" in line for line in lines)
    (theirs,) = [line for line in lines if "theirs:" in line]
    assert "--queue-match" in theirs
    (response,) = [line for line in lines if "local_a_response:" in line]
    assert "responses" in response


async def test_trouble_is_a_line_and_hides_nothing_else(tmp_path: Path) -> None:
    """A bad file and a broker that nobody answers at: the local queues are told all the same."""
    (tmp_path / "queues" / "local_a").mkdir(parents=True)
    aws(tmp_path, "http://127.0.0.1:1")
    bad = tmp_path / "certs" / "bad"
    bad.mkdir()
    (bad / "url").write_text("amqp://nobody\n")
    lines = await lines_of(settings_of(tmp_path))
    assert any("bad" in line and "user or password" in line for line in lines)
    assert any("sqs queues of lab: " in line for line in lines)
    assert any("local_a: 0 waiting" in line for line in lines)


@pytest.mark.service("sqs")
async def test_remote_queues_are_told_and_not_touched(
    tmp_path: Path, moto_server: S3Server
) -> None:
    """Looking at them would count as a receive, so that only their depth is told."""
    sqs = Sqs(f"http://127.0.0.1:{moto_server.port}")
    ours, theirs = (f"{kind}_{uuid.uuid4().hex[:8]}" for kind in ("sqs", "theirs"))
    for name in (ours, theirs):
        sqs.create(name)
        sqs.send(name, "{}")
    aws(tmp_path, sqs.endpoint)
    lines = await lines_of(settings_of(tmp_path, "--queue-match", f"^{ours}$"))
    assert any(f"{ours}: 1 waiting" in line for line in lines)
    assert any("not looked into" in line for line in lines)
    assert any(f"{theirs}: left" in line for line in lines) or "more are left" in lines[-1]
    for name in (ours, theirs):
        (message,) = sqs.all_in(name)
        assert message["Attributes"]["ApproximateReceiveCount"] == "1"


@pytest.mark.service("nvml")
async def test_cards_are_told_and_what_keeps_a_daemon_from_starting(
    tmp_path: Path, nvml: Nvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for one is measured by them; the rest of the plan is told in any case."""
    nvml.cards = [Card("Tesla T4")]
    nvml.install(monkeypatch)
    (tmp_path / "queues" / "local_a").mkdir(parents=True)
    for slots in (4, 5):
        message = json.dumps(changed("experiment.resources_needed", {"gpus": slots}))
        (tmp_path / "queues" / "local_a" / f"m{slots}").write_text(message)
    argv = ("--gpu-probe", "nvml", "--lock-dir", str(tmp_path / "locks"))
    lines = await lines_of(settings_of(tmp_path, *argv))
    assert lines[0].endswith(", 1 GPU (1 Tesla T4)")
    assert lines[1] == "  Tesla T4 GPU-00000000: 16 GB of memory, 4 slots"
    assert sum("would take" in line for line in lines) == 1
    assert sum("would leave" in line and "5 slots" in line for line in lines) == 1
    assert not (tmp_path / "locks").exists()
    told = plan(settings_of(tmp_path, *argv, "--require-gpus", "2"))
    assert len([await anext(told) for _ in lines]) == len(lines)
    with pytest.raises(Misconfigured, match="--require-gpus is 2, and 1 can be given out here"):
        await anext(told)


async def test_no_source_at_all_says_what_to_do(tmp_path: Path) -> None:
    """Both ways to experiments are named."""
    settings = settings_of(tmp_path, "--queue-root", "")
    (_, line) = await lines_of(settings)
    assert "--certs-dir" in line
    assert "--queue-root" in line
