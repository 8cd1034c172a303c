"""Object stores by URL scheme."""

from runner.registry import Registry

STORES = Registry(
    "storage scheme",
    {
        "file": ("runner.stores.local:LocalStore", None),
    },
)
