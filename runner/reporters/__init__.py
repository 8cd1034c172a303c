"""Where news goes."""

from runner.registry import Registry

REPORTERS = Registry(
    "reporter",
    {
        "log": ("runner.reporters.log:LogReporter", None),
        "slack": ("runner.reporters.slack:SlackReporter", "slack"),
        "webhook": ("runner.reporters.webhook:WebhookReporter", None),
    },
)
