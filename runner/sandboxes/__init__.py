"""Ways to run code."""

from runner.registry import Registry

SANDBOXES = Registry(
    "sandbox",
    {
        "plain": ("runner.sandboxes.plain:PlainSandbox", None),
    },
)
