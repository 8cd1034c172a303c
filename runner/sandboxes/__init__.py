"""Ways to run code."""

from runner.registry import Registry

SANDBOXES = Registry(
    "sandbox",
    {
        "bwrap": ("runner.sandboxes.bwrap:BwrapSandbox", None),
        "plain": ("runner.sandboxes.plain:PlainSandbox", None),
    },
)
