"""The page of exit statuses, those of the doctor from its own table."""

from __future__ import annotations

from docs.site.table import table
from runner.doctor.check import STATUS

_HEAD = """# Exit statuses

"""
_COMMON = (
    ("0", "all went well"),
    ("1", "something failed; one sentence on standard error says what"),
    ("2", "the command line, a variable or the configuration cannot be understood"),
    ("130", "interrupted from the keyboard"),
)
_OTHERS = (
    (
        "`submit --wait`, `submit --follow`, `watch QUEUE KEY`",
        (
            "its script did; 128 and the signal where it died of one; 1 where it failed without a "
            "status of its own"
        ),
    ),
    (
        "`run`",
        (
            "0 where it was asked to end, or a limit or `STATE` ended it; 1 where it cannot start, "
            "with the reason"
        ),
    ),
    ("`demo`", "0 when every experiment has succeeded"),
)
_DOCTOR = """
## studio-runner doctor

The first class in this order in which something failed:

"""
_FOOT = """
What is looked at in [each class](../doctor.md). This page is written from the code:
`make reference`.
"""


def render() -> str:
    """Return the page."""
    doctor = ((f"`{area}`", str(status)) for area, status in STATUS.items())
    return (
        _HEAD
        + table(("status", "meaning"), _COMMON)
        + "\n"
        + table(("command", "exits as"), _OTHERS)
        + _DOCTOR
        + table(("class", "status"), doctor)
        + _FOOT
    )
