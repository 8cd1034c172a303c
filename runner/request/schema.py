"""A message's bytes to a Request: the one way in, and the place where bad input ends."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from runner.errors import BadField, Undecodable
from runner.model import RETRYABLE, Experiment, Message, Request, StoreConfig
from runner.redaction import Secret
from runner.request.artifacts import decode_artifacts
from runner.request.command import (
    MAX_ARGUMENT,
    MAX_ARGUMENTS,
    decode_args,
    decode_filename,
    decode_python,
)
from runner.request.credentials import decode_credentials
from runner.request.document import has_member, has_surrogates
from runner.request.envelope import refuse_broken_envelope, refuse_envelope
from runner.request.fields import Fields
from runner.request.location import IMAGE_LABEL
from runner.request.names import COMPONENT_BYTES, blanked, component, visible
from runner.request.needs import decode_needs
from runner.request.reading import Reading
from runner.request.trace import TRACEPARENT, TraceContext

MOST_ATTEMPTS = 100
#: Slack's names of channels have 80 characters at most, and a mark before them.
LONGEST_DESTINATION = 81
_NO_REQUEST = "the message is no StudioML request"
#: A time stamp this small is none (protocol section 2.1).
_LEAST_TIME = 10.0


def decode(given: Message | Reading) -> Request:
    """Decode and check a message (protocol section 2, client section 3).

    Raises Undecodable for what is no StudioML request at all, BadField for a request with a field
    that cannot be, Unsupported for one that this runner cannot fulfil.
    """
    try:
        return _decode(given if isinstance(given, Reading) else Reading.of(given))
    except RecursionError:
        raise Undecodable(f"{_NO_REQUEST}: it is nested too deeply") from None


def _decode(reading: Reading) -> Request:
    if reading.trouble:
        raise Undecodable(f"{_NO_REQUEST}: {reading.trouble}")
    document = reading.document
    refuse_envelope(document)
    if not has_member(document, "experiment"):
        refuse_broken_envelope(document)
        raise Undecodable(f"{_NO_REQUEST}: it has no member experiment")
    if has_surrogates(reading.message.body, document):
        raise BadField("the message", "half a character", "write Unicode text throughout")
    return _request(document)


def _request(document: Mapping[str, object]) -> Request:
    warnings: list[str] = []
    root = Fields(document, "", warnings)
    experiment, config = root.child("experiment"), root.child("config")
    storage = _store(config, "storage")
    runner = config.child("runner")
    return Request(
        experiment=_experiment(experiment, config),
        needs=decode_needs(experiment),
        artifacts=decode_artifacts(experiment, storage),
        env=_env(config),
        lifetime=config.soft_duration("experimentLifetime"),
        checkpoint_interval=config.soft_duration("saveWorkspaceFrequency"),
        metrics_interval=config.soft_duration("saveMetricsFrequency"),
        storage=storage,
        database=_store(config, "database"),
        retry_on=_retry_on(runner),
        max_attempts=_max_attempts(runner),
        slack_destination=_slack_destination(runner),
        traceparent=_traceparent(runner),
        warnings=tuple(warnings),
    )


def _experiment(experiment: Fields, config: Fields) -> Experiment:
    # Told by the label alone: what the artifacts are is read later.
    has_image = dict(experiment.child("artifacts").items()).get(IMAGE_LABEL) is not None
    filename = decode_filename(experiment, has_image=has_image)
    added = experiment.number("time_added")
    return Experiment(
        key=component(experiment.at("key"), experiment.text("key")),
        filename=filename,
        args=decode_args(experiment, filename),
        project=_project(experiment),
        python_version=decode_python(experiment, has_image=has_image),
        requirements=_lines(experiment, "pythonenv") + _lines(config, "pip"),
        time_added=added if added is not None and added > _LEAST_TIME else None,
        max_duration=experiment.duration("max_duration"),
    )


def _project(experiment: Fields) -> str:
    if isinstance(experiment.raw("project"), bool | dict | list):
        experiment.warn("project", "is no string and is ignored")
        return ""
    return blanked(experiment.text("project"))[:COMPONENT_BYTES]


def _lines(owner: Fields, name: str) -> tuple[str, ...]:
    path = owner.at(name)
    lines = (visible(f"{path}[{n}]", line.strip()) for n, line in enumerate(owner.texts(name)))
    return tuple(line for line in lines if line)


def _env(config: Fields) -> Mapping[str, str]:
    found = config.child("env")
    env = {}
    for name, value in found.items():
        path = f"{config.at('env')}.{visible(config.at('env'), name)[:COMPONENT_BYTES]}"
        if not name or "=" in name:
            raise BadField(config.at("env"), name, "a variable has a name, and no = in it")
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            raise BadField(path, Secret(), "write a string")
        env[name] = "" if value is None else str(value)
        if "\0" in env[name] or len(env[name].encode()) > MAX_ARGUMENT:
            raise BadField(path, Secret(), f"no NUL, and {MAX_ARGUMENT} bytes at most")
    if sum(len(name) + len(value) for name, value in env.items()) > MAX_ARGUMENTS:
        remedy = f"all together may have {MAX_ARGUMENTS} characters at most"
        raise BadField(config.at("env"), f"{len(env)} variables", remedy)
    return MappingProxyType(env)


def _store(config: Fields, name: str) -> StoreConfig:
    """Read a store's description; anything may stand there, as not every runner reads it."""
    if not isinstance(config.raw(name), dict):
        return StoreConfig()
    fields = config.child(name)
    words = {part: fields.raw(part) for part in ("type", "endpoint", "bucket")}
    texts = {part: value for part, value in words.items() if isinstance(value, str)}
    keys = None
    if isinstance(fields.raw("credentials"), dict):
        keys = decode_credentials(fields)
    return StoreConfig(
        texts.get("type", ""), texts.get("endpoint", ""), texts.get("bucket", ""), keys
    )


def _retry_on(runner: Fields) -> frozenset[str]:
    words = [w.strip() for text in runner.texts("retry_on") for w in text.split(",")]
    named = frozenset(word for word in words if word)
    accepted = {cause.value for cause in RETRYABLE}
    if not named <= accepted:
        raise runner.bad("retry_on", f"write some of {', '.join(sorted(accepted))}")
    return named


def _max_attempts(runner: Fields) -> int | None:
    if runner.raw("max_attempts") is None:
        return None
    attempts = runner.whole("max_attempts")
    if not 1 <= attempts <= MOST_ATTEMPTS:
        raise runner.bad("max_attempts", f"write a number from 1 to {MOST_ATTEMPTS}")
    return attempts


def _traceparent(runner: Fields) -> str:
    """Read it likewise: an experiment runs without a trace as well."""
    written = runner.raw(TRACEPARENT)
    if written is None or written == "":
        return ""
    context = TraceContext.read(written)
    if context is None:
        runner.warn(TRACEPARENT, "is none as W3C describes it, and is ignored")
    return context.traceparent if context else ""


def _slack_destination(runner: Fields) -> str:
    """Read a wish that no experiment is refused for: a channel that cannot be is not followed."""
    written = runner.raw("slack_destination")
    if written is None or written == "":
        return ""
    wanted = written.strip() if isinstance(written, str) else ""
    if not wanted.isprintable() or not 0 < len(wanted) <= LONGEST_DESTINATION:
        runner.warn("slack_destination", "is no channel of Slack and is ignored")
        return ""
    return wanted
