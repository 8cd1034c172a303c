"""Where values come from and which of them counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from runner.errors import Misconfigured
from runner.model import Cause
from runner.settings import OPTIONS, Settings, Source
from runner.settings.option import variables

ConfigFile = Callable[[str], list[str]]


@pytest.fixture
def config_file(tmp_path: Path) -> ConfigFile:
    """Write a config file and return the arguments that name it."""

    def write(text: str) -> list[str]:
        (tmp_path / "runner.yaml").write_text(text)
        return ["--config", str(tmp_path / "runner.yaml")]

    return write


def test_a_flag_wins_over_all(config_file: ConfigFile) -> None:
    """Flag, then environment, then file, then default."""
    argv = config_file("max-cores: 1")
    environ = {"MAX_CORES": "2"}
    assert Settings.load([*argv, "--max-cores", "3"], environ).max_cores == 3
    assert Settings.load(argv, environ).max_cores == 2
    assert Settings.load(argv, {}).max_cores == 1
    assert Settings.load([], {}).max_cores == 0


def test_origins_are_kept(config_file: ConfigFile) -> None:
    """Every value knows its flag, its variable, its file and key, or that it is a default."""
    argv = config_file("max-cores: 1\nlease: 90s\n")
    settings = Settings.load(
        [*argv, "--max-mem=3gb"], {"STUDIO_RUNNER_LEASE": "80s", "LEASE": "70s", "DEBUG": "1"}
    )
    said = {field: str(origin) for field, origin in settings.origins.items() if origin.source}
    assert said == {
        "max_cores": f"file {argv[1]}, key max-cores",
        "max_mem": "flag --max-mem",
        "lease": "environment variable STUDIO_RUNNER_LEASE",
        "debug": "environment variable DEBUG",
    }
    assert settings.lease == timedelta(seconds=80)
    assert settings.given("lease")
    assert not settings.given("kill_grace")


def test_every_option_has_both_variables() -> None:
    """Each option is taken from its bare variable, and the prefixed one wins over it."""
    for option in OPTIONS.values():
        text = option.default if isinstance(option.default, str) and option.default else "/x"
        given = {
            "active_hours": "19:00-07:00",
            "ambient_credentials": "aws",
            "cache_size": "1gb",
            "expose_env": "HOME",
            "queue_priority": "urgent=1",
            "retry_on": "exit",
            "run_as": "0",
            "web_hosts": "gpu-1",
        }
        text = given.get(option.field, text)
        prefixed, bare = variables(option.name)
        assert Settings.load([], {bare: text}).origins[option.field].name == bare
        both = Settings.load([], {bare: "\0", prefixed: text})
        assert both.origins[option.field].name == prefixed


def test_lists_may_be_repeated_and_parted(config_file: ConfigFile) -> None:
    """Repeated flags, parted texts and YAML lists all make the same tuple."""
    expected = (Path("/a"), Path("/b"))
    flags = ["--local-store-root", "/a", "--local-store-root", "/b"]
    assert Settings.load(flags, {}).local_store_root == expected
    assert Settings.load([], {"LOCAL_STORE_ROOT": "/a:/b"}).local_store_root == expected
    file = config_file("local-store-root: [/a, /b]")
    assert Settings.load(file, {}).local_store_root == expected
    assert Settings.load(flags, {"LOCAL_STORE_ROOT": "/c"}).local_store_root == expected
    assert Settings.load([], {"RETRY_ON": "exit, time-limit"}).retry_on == (
        Cause.EXIT,
        Cause.TIME_LIMIT,
    )
    links = Settings.load([], {"EXTRA_INDEX_URL": "https://a/x,y https://b"}).extra_index_url
    assert links == ("https://a/x,y", "https://b")


def test_the_originals_forms_are_understood() -> None:
    """Single dashes, ``=``, bare booleans and all the names of the original are accepted."""
    settings = Settings.load(
        ["-max-cores=4", "-max-mem", "16gib", "-cpu-only", "-schema-logs=false", "--debug=f"], {}
    )
    assert (settings.max_cores, settings.max_mem) == (4, 16 * 2**30)
    assert (settings.cpu_only, settings.schema_logs, settings.debug) == (True, False, False)


#: Every option of studio-go-runner (protocol sections 1.2 and 1.3), and names between them.
ORIGINAL = (
    "k8s-namespace",
    "k8s-configmap",
    "amqp-url",
    "amqp-mgt-url",
    "queue-match",
    "queue-mismatch",
    "queue-root",
    "sqs-certs",
    "sqs-timeout",
    "working-dir",
    "debug",
    "cpu-only",
    "max-cores",
    "max-mem",
    "max-disk",
    "cache-dir",
    "cache-size",
    "cache-create",
    "encrypt-dir",
    "clear-text-messages",
    "request-signatures-dir",
    "response-signatures-dir",
    "prom-address",
    "schema-logs",
    "cpu-profile",
    "allow-env-secrets",
    "s3-ca",
    "s3-cert",
    "s3-key",
    "limit-tasks",
    "limit-idle-duration",
    "limit-interval",
    "google-certs",
    "pubsub-timeout",
    "sqs-prefix",
    "slack-hook",
    "slack-room",
    "certs-dir",
    "signatures-dir",
    "cpu-profile-duration",
)


@pytest.mark.parametrize("name", ORIGINAL)
def test_no_name_of_the_original_is_lost(name: str) -> None:
    """Every option of the original is known here (protocol sections 1.2 and 1.3)."""
    assert any(name in option.names for option in OPTIONS.values())


def test_aliases_work_everywhere(config_file: ConfigFile) -> None:
    """Another name of an option is a flag, a variable and a key like its own."""
    for argv, environ in (
        (["--exit-when-idle", "3s"], {}),
        ([], {"EXIT_WHEN_IDLE": "3s"}),
        (config_file("exit-when-idle: 3s"), {}),
    ):
        settings = Settings.load(argv, environ)
        assert settings.limit_idle_duration == timedelta(seconds=3)
        assert settings.given("limit_idle_duration")


def test_yaml_may_take_on_and_off_for_truth_values(config_file: ConfigFile) -> None:
    """Whoever writes ``network: off`` without quotes means what it says."""
    settings = Settings.load(config_file("network: off\ngpu-sharing: off\n"), {})
    assert (settings.network, settings.gpu_sharing) == ("off", "off")


def test_the_config_file_can_be_named_by_a_variable(config_file: ConfigFile) -> None:
    """STUDIO_RUNNER_CONFIG names the file; underscores in keys count as dashes."""
    path = config_file("max_cores: 5\ndebug: true\n")[1]
    settings = Settings.load([], {"STUDIO_RUNNER_CONFIG": path})
    assert (settings.max_cores, settings.debug) == (5, True)


def test_an_empty_variable_is_not_set_unless_empty_means_something() -> None:
    """MAX_CORES= keeps the default; QUEUE_ROOT= turns local queues off."""
    settings = Settings.load([], {"MAX_CORES": "", "QUEUE_ROOT": ""})
    assert settings.max_cores == 0
    assert settings.origins["max_cores"].source is Source.DEFAULT
    assert settings.queue_root is None


def test_paths_are_expanded_from_the_given_environment() -> None:
    """``~`` and variables come from the environment that is passed in; the result is absolute."""
    environ = {"HOME": "/home/ada", "BASE": "/data"}
    settings = Settings.load(["--queue-root", "$BASE/q", "--state-dir", "~/state"], environ)
    assert settings.queue_root == Path("/data/q")
    assert settings.state_dir == Path("/home/ada/state")
    assert settings.working_dir == Path("/home/ada/state/work")


def test_logxi_counts_where_nothing_else_is_said() -> None:
    """The original's logging variables set level and format, below our own."""
    settings = Settings.load([], {"LOGXI": "*=DBG", "LOGXI_FORMAT": "happy,maxcol=1024"})
    assert (settings.log_level, settings.log_format) == ("debug", "text")
    assert str(settings.origins["log_level"]) == "environment variable LOGXI"
    assert Settings.load([], {"LOGXI": "*=INF,runner=ERR"}).log_level == "error"
    assert Settings.load([], {"LOGXI": "sqs=TRC"}).log_level == "info"
    assert Settings.load([], {"LOGXI": "*=DBG", "LOG_LEVEL": "warning"}).log_level == "warning"
    assert Settings.load([], {"LOGXI_FORMAT": "JSON"}).log_format == "json"


def test_a_file_form_is_read_and_ranked(tmp_path: Path) -> None:
    """``--x-file`` gives a secret from a file; the stronger source wins, equals are refused."""
    (tmp_path / "url").write_text("amqp://ada:lovelace@broker/\n")
    by_file = ["--amqp-url-file", str(tmp_path / "url")]
    settings = Settings.load(by_file, {"AMQP_URL": "amqp://x:y@z/"})
    assert settings.amqp_url.reveal() == "amqp://ada:lovelace@broker/"
    assert "lovelace" not in repr(settings)
    environ = {"AMQP_URL_FILE": str(tmp_path / "url")}
    assert Settings.load(["--amqp-url", "amqp://q"], environ).amqp_url.reveal() == "amqp://q"
    with pytest.raises(Misconfigured, match="--amqp-url and --amqp-url-file are both given"):
        Settings.load([*by_file, "--amqp-url", "amqp://q"], {})
    with pytest.raises(Misconfigured, match=r"--amqp-url-file is '.*absent' .* cannot be read"):
        Settings.load(["--amqp-url-file", str(tmp_path / "absent")], {})


def test_notes_warn_of_secrets_and_idle_options() -> None:
    """A secret on the command line and an option without effect are each said once."""
    notes = Settings.load(["--slack-hook", "https://hooks"], {"CPU_PROFILE": "/x"}).notes
    assert len(notes) == 2
    assert any("--slack-hook-file" in note and "every user" in note for note in notes)
    assert any("--cpu-profile" in note and "no effect yet" in note for note in notes)
    assert Settings.load([], {}).notes == ()
