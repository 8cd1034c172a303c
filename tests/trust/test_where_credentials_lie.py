"""What counts as a credential of this machine, and where none may lie."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from runner.app.hidden import check, hidden, visible
from runner.app.places import Places
from runner.errors import Misconfigured
from runner.model import Identity
from runner.settings import Settings
from tests.passage import open_to_all

NOBODY = Identity(65534, 65534)


class Machine:
    """The directories of one daemon."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("state", "work", "queues", "store", "certs", "keys", "home"):
            (root / name).mkdir()
        self.options = {
            "state-dir": root / "state",
            "working-dir": root / "work",
            "queue-root": root / "queues",
            "local-store-root": root / "store",
            "certs-dir": root / "certs",
        }

    def settings(self, *more: str, **changed: object) -> Settings:
        """Read the options as the daemon does."""
        options = self.options | {name.replace("_", "-"): to for name, to in changed.items()}
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        return Settings.load([*words, *more], {"HOME": str(self.root / "home")})

    def places(self, identity: Identity | None = None) -> Places:
        """Return the daemon's places."""
        return Places(self.root / "state", "owner", identity, "somebody")

    def hidden(self, settings: Settings, **variables: str) -> set[str]:
        """Return what is hidden, below this machine's root."""
        environ = {"HOME": str(self.root / "home"), **variables}
        found = hidden(settings, self.places(), environ)
        return {str(p.relative_to(self.root)) for p in found if p.is_relative_to(self.root)}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine of its own for every test."""
    return Machine(tmp_path.resolve())


def test_credentials_records_and_messages_are_hidden(machine: Machine) -> None:
    """Every directory and file that the settings name, whether it is there yet or not."""
    for name in ("google", "hook", "key"):
        (machine.root / "keys" / name).write_text("x")
    (machine.root / "config.yaml").write_text("slack-hook: https://hooks.slack.com/x\n")
    keys = machine.root / "keys"
    settings = machine.settings(
        *(
            "--google-store-credentials",
            str(keys / "google"),
            "--amqp-url-file",
            str(keys / "hook"),
        ),
        *("--s3-key", str(keys / "key"), "--google-certs", str(machine.root / "later")),
        *("--config", str(machine.root / "config.yaml")),
    )
    assert machine.hidden(settings) >= {
        *("certs", "later", "keys/google", "keys/hook", "keys/key", "config.yaml"),
        *("state", "work/experiments", "queues", "state/cache"),
        *("home/.aws", "home/.config/gcloud"),
    }
    assert Path("/run/secrets") in hidden(settings, machine.places(), {})


def test_what_commands_the_daemon_is_hidden(machine: Machine) -> None:
    """Whose requests are believed, what it is to do, which cards it has, what others tell."""
    root = machine.root
    settings = machine.settings(
        *("--request-signatures-dir", str(root / "senders"), "--state-file", str(root / "wish")),
        *("--response-signatures-dir", str(root / "readers"), "--lock-dir", str(root / "locks")),
        *("--fleet-store", f"file://{root}/lab"),
    )
    assert machine.hidden(settings) >= {"senders", "readers", "wish", "locks", "lab/fleet"}


def test_a_fleet_in_a_bucket_hides_nothing(machine: Machine) -> None:
    """It is no directory of this machine."""
    more = machine.hidden(machine.settings("--fleet-store", "s3:///bucket"))
    assert more == machine.hidden(machine.settings())


def test_key_files_are_hidden_with_the_directory_that_is_theirs(machine: Machine) -> None:
    """Who replaces a file uncovers it; a directory in which other things lie stays to be seen."""
    own, shared = machine.root / "keys", machine.root / "shared"
    shared.mkdir()
    for file in (own / "token", own / "secret", shared / "hook", shared / "data"):
        file.write_text("x")
    settings = machine.settings(
        *("--web-token-file", str(own / "token"), "--webhook-secret-file", str(own / "secret")),
        *("--slack-hook-file", str(shared / "hook")),
    )
    assert {"keys", "shared/hook"} <= machine.hidden(settings)
    assert "shared" not in machine.hidden(settings)


def test_a_mounted_secret_is_hidden_whole(machine: Machine) -> None:
    """The next version of its keys lies in a directory that is not there yet."""
    volume = machine.root / "volume"
    (volume / "..1").mkdir(parents=True)
    for name in ("token", "other"):
        (volume / "..1" / name).write_text("x")
    (volume / "..data").symlink_to("..1")
    (volume / "token").symlink_to("..data/token")
    settings = machine.settings("--web-token-file", str(volume / "token"))
    assert "volume" in machine.hidden(settings)


def test_a_file_of_settings_without_a_secret_is_not_hidden(machine: Machine) -> None:
    """It is nobody's harm to read how many cores there are."""
    (machine.root / "config.yaml").write_text("max-cores: 4\n")
    settings = machine.settings("--config", str(machine.root / "config.yaml"))
    assert "config.yaml" not in machine.hidden(settings)


def test_the_daemons_own_keys_are_hidden(machine: Machine) -> None:
    """Those that its own environment names, which clients of clouds would use."""
    names = ("GOOGLE_APPLICATION_CREDENTIALS", "AWS_SHARED_CREDENTIALS_FILE", "KUBECONFIG")
    variables = {name: str(machine.root / name) for name in names}
    assert machine.hidden(machine.settings(), **variables) >= set(names)


def test_a_link_hides_what_it_leads_to(machine: Machine) -> None:
    """The real directory is covered, by which all its names lead to nothing."""
    (machine.root / "link").symlink_to(machine.root / "certs")
    assert "certs" in machine.hidden(machine.settings(certs_dir=machine.root / "link"))


def test_a_queue_root_with_other_things_in_it_is_not_hidden_whole(machine: Machine) -> None:
    """Data that scripts read by name stay there; what queues keep of messages does not."""
    settings = machine.settings(queue_root=machine.root)
    found = hidden(settings, machine.places(), {})
    assert machine.root not in found
    assert machine.root / ".studio-runner" in found


def test_what_messages_may_read_stays_visible(machine: Machine) -> None:
    """The operator's own store is no secret of the daemon, wherever it lies."""
    inside = machine.root / "state" / "store"
    assert inside in visible(machine.settings(local_store_root=inside))


@pytest.mark.parametrize("option", ["local-store-root", "queue-root", "working-dir"])
def test_no_credential_lies_where_messages_reach(machine: Machine, option: str) -> None:
    """The sentence names the credential, the option and its directory."""
    root = machine.options[option]
    inside = root / "certs"
    with pytest.raises(Misconfigured, match=rf"{inside} lies inside --{option} {root}"):
        check(machine.settings(certs_dir=inside), machine.places(), hides=True)


def test_no_key_file_lies_where_messages_reach(machine: Machine) -> None:
    """One file is a credential as well."""
    key = machine.root / "store" / "key"
    key.write_text("x")
    settings = machine.settings("--amqp-url-file", str(key))
    with pytest.raises(Misconfigured, match=f"{key} lies inside --local-store-root"):
        check(settings, machine.places(), hides=True)


def test_nor_does_the_key_file_that_the_environment_names(machine: Machine) -> None:
    """It opens queues like any other."""
    key = machine.root / "queues" / "key.json"
    key.write_text("{}")
    environ = {"GOOGLE_APPLICATION_CREDENTIALS": str(key)}
    with pytest.raises(Misconfigured, match=f"{key} lies inside --queue-root"):
        check(machine.settings(), machine.places(), hides=True, environ=environ)


def test_a_link_among_the_credentials_counts_as_what_it_leads_to(machine: Machine) -> None:
    """A credential that is kept in the store is readable by messages, whatever its other name."""
    (machine.root / "store" / "real").write_text("x")
    (machine.root / "certs" / "lab").mkdir()
    (machine.root / "certs" / "lab" / "credentials").symlink_to(machine.root / "store" / "real")
    with pytest.raises(Misconfigured, match=r"it leads to .*/store/real\) lies inside"):
        check(machine.settings(), machine.places(), hides=True)


@pytest.mark.parametrize("option", ["local-store-root", "queue-root", "working-dir"])
def test_messages_write_nothing_among_the_credentials(machine: Machine, option: str) -> None:
    """Results that lie there would be taken for credentials."""
    inside = machine.root / "certs" / "place"
    changed = {option.replace("-", "_"): inside}
    with pytest.raises(Misconfigured, match=rf"--{option} {inside} lies inside the credentials"):
        check(machine.settings(**changed), machine.places(), hides=True)


@pytest.mark.parametrize("option", ["local-store-root", "queue-root", "working-dir"])
def test_no_fleet_tells_of_itself_where_messages_reach(machine: Machine, option: str) -> None:
    """A message could read what other runners tell, and tell it in their place."""
    root = machine.options[option]
    settings = machine.settings("--fleet-store", f"file://{root}/lab")
    with pytest.raises(Misconfigured, match=rf"--fleet-store {root}/lab lies inside --{option}"):
        check(settings, machine.places(), hides=True)


def test_usual_places_are_fine(machine: Machine) -> None:
    """Links of a Kubernetes mount stay within it."""
    certs = machine.root / "certs"
    (certs / "..2026").mkdir()
    (certs / "..2026" / "key.json").write_text("x")
    (certs / "..data").symlink_to("..2026")
    (certs / "key.json").symlink_to("..data/key.json")
    check(machine.settings(), machine.places(), hides=True)


def test_where_nothing_can_be_hidden_permissions_must_do(machine: Machine) -> None:
    """Credentials that the experiments' user can read stop the start, with the remedy."""
    open_to_all(machine.root)
    certs = machine.root / "certs"
    certs.chmod(0o755)
    check(machine.settings(), machine.places(NOBODY), hides=True)
    with pytest.raises(Misconfigured, match=rf"user 65534, who can read {certs}.*chmod go-rwx"):
        check(machine.settings(), machine.places(NOBODY), hides=False)
    certs.chmod(0o700)
    check(machine.settings(), machine.places(NOBODY), hides=False)


def test_a_key_file_that_others_can_read_counts_too(machine: Machine) -> None:
    """Where nothing can be hidden."""
    open_to_all(machine.root)
    open_to_all(machine.root / "keys")
    (machine.root / "certs").chmod(0o700)
    key = machine.root / "keys" / "url"
    key.write_text("x")
    key.chmod(0o644)
    settings = machine.settings("--amqp-url-file", str(key))
    with pytest.raises(Misconfigured, match=f"who can read {key}"):
        check(settings, machine.places(NOBODY), hides=False)
    key.chmod(0o600)
    check(settings, machine.places(NOBODY), hides=False)


# ----------------------------------------------------------------------------- the command


def run(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the daemon's command to its end."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(root)}
    options = ["--state-dir", str(root / "state"), "--lock-dir", str(root / "locks")]
    argv = [sys.executable, "-m", "runner", "run", *options, "--log-format", "json", *words]
    return subprocess.run(argv, check=False, capture_output=True, text=True, env=environ)


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one sentence for which it ended."""
    (line,) = [line for line in done.stderr.splitlines() if '"critical"' in line]
    return str(json.loads(line)["event"])


def test_the_daemon_does_not_start_with_credentials_in_the_store(tmp_path: Path) -> None:
    """One sentence, and a status that is not zero."""
    store = tmp_path / "store"
    (store / "certs").mkdir(parents=True)
    root = ["--allow-root-experiments"] if os.geteuid() == 0 else []
    where = ["--local-store-root", str(store), "--certs-dir", str(store / "certs")]
    done = run(tmp_path, "--queue-root", str(tmp_path / "queues"), *where, *root)
    assert done.returncode == 1
    assert f"the credential {store}/certs lies inside --local-store-root {store}" in said(done)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
def test_root_must_say_who_experiments_are(tmp_path: Path) -> None:
    """Without a user or the word that root is meant, nothing starts."""
    words: Sequence[str] = ["--queue-root", str(tmp_path / "queues")]
    done = run(tmp_path, *words)
    assert done.returncode == 1
    assert "--run-as" in said(done)
    assert "--allow-root-experiments" in said(done)
