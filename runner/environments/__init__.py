"""Ways to install requirements."""

from runner.registry import Registry

ENVIRONMENTS = Registry(
    "environment builder",
    {
        "uv": ("runner.environments.uv:UvEnvironments", None),
    },
)
