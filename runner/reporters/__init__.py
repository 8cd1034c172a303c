"""Where news goes."""

from runner.registry import Registry

REPORTERS = Registry(
    "reporter",
    {
        "log": ("runner.reporters.log:LogReporter", None),
    },
)
