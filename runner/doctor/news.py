"""Where news goes: a bot's token can be asked for, a hook and a webhook only be posted to."""

from __future__ import annotations

import socket

from runner.app.reporting import reporters_for
from runner.doctor.check import Finding, failed, ok, skipped, warning
from runner.doctor.examination import Tell
from runner.doctor.patient import Patient
from runner.errors import Misconfigured
from runner.model import News, Report
from runner.reporters.courier import Hopeless, Later
from runner.reporters.posting import PostingReporter

_REACH = "check the address, the proxy and the firewall between here and there"
_RENEW = "make it anew (docs/news.md), and change it here"


async def look(patient: Patient, tell: Tell) -> None:
    """Try each reporter that goes over the network."""
    memory = patient.settings.state_dir / "doctor-remembers-nothing"
    try:
        reporters = reporters_for(patient.settings, patient.redactor, memory)
    except Misconfigured:
        tell(skipped("the settings of news cannot be used: see settings"))
        return
    posting = [one for one in reporters if isinstance(one, PostingReporter)]
    for reporter in posting:
        tell(await _tried(patient, reporter))
    if not posting:
        tell(skipped("neither Slack nor a webhook is configured: news is in the log alone"))


async def _tried(patient: Patient, reporter: PostingReporter) -> Finding:
    about = reporter.name
    try:
        if patient.may_write:
            await reporter.deliver(_greeting())
            return ok("it took a greeting; see whether it arrived", about)
        if reporter.name == "slack" and patient.settings.slack_token:
            return ok(f"its token is that of {await _who(patient)}", about)
    except Later as error:
        return warning(str(error), _REACH, about)
    except Hopeless as error:
        return failed(str(error), _RENEW, about)
    return skipped("only a post tells whether it works: --write sends one", about=about)


async def _who(patient: Patient) -> str:
    """Ask Slack whose the token is."""
    # Imported late: its SDK may be missing, and a hook alone needs nobody's name.
    from runner.reporters.slack_calls import Calls  # noqa: PLC0415

    settings = patient.settings
    calls = Calls(token=settings.slack_token, hook=settings.slack_hook, api=settings.slack_api)
    return await calls.who()


def _greeting() -> Report:
    host = socket.gethostname()
    return Report(News.DAEMON_STARTED, f"studio-runner doctor on {host} tries whether this arrives")
