"""Ways to run code."""

from runner.registry import Registry

SANDBOXES = Registry(
    "sandbox",
    {
        "apptainer": ("runner.sandboxes.apptainer:ApptainerSandbox", None),
        "bwrap": ("runner.sandboxes.bwrap:BwrapSandbox", None),
        "plain": ("runner.sandboxes.plain:PlainSandbox", None),
    },
)
