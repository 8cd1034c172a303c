"""Where machines are told that they will be taken away."""

from runner.registry import Registry

SERVICES = Registry(
    "metadata service",
    {
        "aws": ("runner.notices.aws:Aws", None),
        "gcp": ("runner.notices.gcp:Gcp", None),
    },
)
