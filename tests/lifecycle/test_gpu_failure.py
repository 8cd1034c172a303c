"""A card that had no memory left, recognised in what the frameworks print."""

from __future__ import annotations

import pytest

from runner.lifecycle.causes import Evidence, cause_of
from runner.lifecycle.gpus.cards import Signs
from runner.lifecycle.gpus.failure import Findings, out_of_memory
from runner.model import Cause

ENDS = {
    "pytorch": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has "
    "a total capacity of 15.77 GiB of which 14.80 GiB is free.",
    "pytorch 1": "RuntimeError: CUDA out of memory. Tried to allocate 2.00 MiB (GPU 0; 15.77 GiB)",
    "pytorch 2.0": "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 MiB.",
    "pytorch, c++": "what():  CUDA error: out of memory",
    "pytorch, cublas": "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling "
    "`cublasCreate(handle)`",
    "tensorflow": "tensorflow.python.framework.errors_impl.ResourceExhaustedError: {{function_node "
    "__wrapped__AddV2_device_/job:localhost/replica:0/task:0/device:GPU:0}} failed to allocate "
    "memory [Op:AddV2] OOM",
    "tensorflow, eager": "OOM when allocating tensor with shape[100000,100000] and type float on "
    "/job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc [Op:MatMul]",
    "jax": "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying "
    "to allocate 40000000000 bytes.",
    "cupy": "cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 8,000,000,000 bytes.",
    "cupy, driver": "cupy_backends.cuda.api.runtime.CUDARuntimeError: cudaErrorMemoryAllocation: "
    "out of memory",
    "numba": "numba.cuda.cudadrv.driver.CudaAPIError: [2] Call to cuMemAlloc results in "
    "CUDA_ERROR_OUT_OF_MEMORY",
}
OTHERS = (
    "MemoryError",
    "OSError: [Errno 12] Cannot allocate memory",
    "torch.cuda.empty_cache() was called",
    "RESOURCE_EXHAUSTED: quota exceeded for this project",
    "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 7.45 GiB for an array",
    "CUDA error: an illegal memory access was encountered",
)


@pytest.mark.parametrize("line", ENDS.values(), ids=ENDS)
def test_a_card_without_memory_is_recognised(line: str) -> None:
    """In the words of each framework; more may follow the line."""
    assert out_of_memory(["Traceback (most recent call last):", f"  {line}", "", "Done."]) == line


@pytest.mark.parametrize("line", OTHERS)
def test_other_troubles_are_not_taken_for_it(line: str) -> None:
    """Nor is memory of the machine, or a quota."""
    assert out_of_memory([line]) == ""


def test_a_broken_card_is_the_reason_and_goes_first() -> None:
    """What the process did then comes after it."""
    found = Findings(Signs(faults=("the driver reports Xid 79",), notes=("Xid 43",)))
    cause = cause_of(found.add_to(Evidence(exit_code=1)))
    assert cause is Cause.GPU_FAULT
    said = found.explain("it exited with 1", cause)
    assert said == "the driver reports Xid 79; it exited with 1"


def test_an_application_xid_explains_the_failure() -> None:
    """It changes nothing about whose failure that is."""
    found = Findings(Signs(notes=("the driver reports Xid 31",)))
    cause = cause_of(found.add_to(Evidence(signal=6)))
    assert cause is Cause.SIGNAL
    assert found.explain("it died of SIGABRT", cause) == (
        "it died of SIGABRT; the driver reports Xid 31"
    )


def test_the_line_of_the_output_says_how_much_was_missing() -> None:
    """It goes into the reason as it is."""
    found = Findings(Signs(), ENDS["pytorch"])
    cause = cause_of(found.add_to(Evidence(exit_code=1)))
    assert cause is Cause.GPU_OUT_OF_MEMORY
    assert found.explain("it exited with 1", cause).startswith("torch.OutOfMemoryError: CUDA out")
    assert found.explain("it exited with 1", cause).endswith("; it exited with 1")
