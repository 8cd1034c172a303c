"""The page of causes: what each means, what becomes of the message, what is to be done."""

from __future__ import annotations

import inspect
import re

from docs.site.table import table
from runner.lifecycle import disposition
from runner.lifecycle.causes import advice
from runner.model import RETRYABLE, Cause

_HEAD = """# Causes

Every attempt ends for one cause. It stands in `studio-runner status`, in the log, in the claim
record, at the end of the experiment's own output, in news, and in the metric
`runner_experiments_ended_total`. The words are stable: scripts may name them.

"""
_FOOT = """
- *tried again, counted*: after `--retry-delay`, doubled each time, up to `--max-attempts`; then it
  is buried.
- *tried again, uncounted*: the experiment had no part in it. A message that was handed out a
  hundred times is buried all the same.
- *final*: acknowledged, its output and the reason are stored. `--retry-on CAUSE`, of the daemon or
  of `submit`, has it tried again: {causes}.
- *given back*: the message is in its queue again, for this or another runner.
- *buried*: a dead letter with its reason; `studio-runner queue dead` shows it, `queue requeue`
  sends it again.

A machine that fails before anything of the experiment has run (`host-fault`, `out-of-disk`), and a
store or a package index that does not answer until then, count nothing
([why](../decisions/010-outages-cost-no-attempt.md)). Use of more disk than an experiment asked for
is final, the machine's own full disk is tried again: both are `out-of-disk`,
and the sentence beside it says which. This page is written from the code: `make reference`.
"""
_MEMBER = re.compile(r"^    #: (.+)\n    [A-Z_]+ = \"([\w-]+)\"$", re.MULTILINE)
_HOOKS = frozenset({Cause.DEFERRED_BY_HOOK, Cause.HOOK_FAILED})
_PAGE = re.compile(r"docs/([\w-]+)\.md")
_FATES = (
    (_HOOKS, "given back, each time for longer, uncounted"),
    (disposition.OVER, "over"),
    (disposition.INTERRUPTED, "given back at once, uncounted"),
    (disposition.FOR_OTHERS, "given back with the longest delay, uncounted"),
    (disposition.BURIED, "buried"),
    (disposition.UNCOUNTED, "tried again, uncounted"),
    (disposition.RETRIED, "tried again, counted"),
    (disposition.NEVER_RETRIED, "final, whatever `--retry-on` says"),
    (disposition.FINAL, "final"),
)


def render() -> str:
    """Return the page. Raises KeyError where a cause has no meaning, and StopIteration no fate."""
    meanings = {name: meaning for meaning, name in _MEMBER.findall(inspect.getsource(Cause))}
    rows = (
        (f"`{cause}`", _linked(meanings[cause]), _fate(cause), advice(cause)) for cause in Cause
    )
    head = ("cause", "what it means", "what becomes of the message", "what to do")
    return _HEAD + table(head, rows) + _FOOT.format(causes=_retryable())


def _retryable() -> str:
    wanted = [f"`{cause}`" for cause in Cause if cause in RETRYABLE & disposition.FINAL]
    return f"{', '.join(wanted[:-1])} or {wanted[-1]}"


def _fate(cause: Cause) -> str:
    return next(fate for causes, fate in _FATES if cause in causes)


def _linked(comment: str) -> str:
    return _PAGE.sub(r"[\1](../\1.md)", comment.replace("``", "`"))
