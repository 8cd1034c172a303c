"""What this machine has."""

from runner.registry import Registry

PROBES = Registry(
    "resource probe",
    {
        "host": ("runner.resources.host:MachineProbe", None),
        "nvml": ("runner.resources.gpu:NvmlProbe", None),
        "none": ("runner.resources.no_gpu:NoGpuProbe", None),
    },
)
