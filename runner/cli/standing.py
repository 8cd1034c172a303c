"""How an experiment stands, in a sentence for a person."""

from __future__ import annotations

from runner.cli import show
from runner.client.standing import Standing


def sentence(standing: Standing) -> str:
    """Say it, with how long ago the last sign of life was."""
    where = f"attempt {standing.attempt} on {standing.host}" if standing.attempt else ""
    detail = f": {standing.detail}" if standing.detail else ""
    given_back = f"{standing.cause or 'was given back'}{detail}"
    words = {
        "waiting": "waiting for a runner",
        "running": f"running, {where}",
        "released": f"waiting for the next attempt; {where}, {given_back}",
        "stopped": f"to be stopped{f'; {where}' if where else ''}",
        "ended": _ending(standing, where),
    }
    seen = f", last heard of {show.since(standing.updated)} ago" if standing.updated else ""
    submitted = f", submitted {show.since(standing.submitted)} ago" if standing.submitted else ""
    said = words.get(standing.state, standing.state) + (seen or submitted)
    return said + (detail if standing.state == "waiting" else "")


def _ending(standing: Standing, where: str) -> str:
    code = f", exit code {standing.exit_code}" if standing.exit_code else ""
    detail = f": {standing.detail}" if standing.detail else ""
    buried = "; its message is among the dead letters" if standing.buried else ""
    return f"ended ({standing.cause or 'without an outcome'}{code}), {where}{detail}{buried}"
