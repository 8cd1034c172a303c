"""What cards and output say about a run that failed: a broken card, or no memory left on one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from runner.lifecycle.causes import Evidence
from runner.lifecycle.gpus.cards import Signs, Use
from runner.lifecycle.parts import Parts
from runner.lifecycle.runs.exits import Exit
from runner.lifecycle.runs.last_lines import last_lines
from runner.model import Cause

#: What the frameworks write when a card has no memory left: PyTorch, cuDNN and plain CUDA, CuPy,
#: the driver's and the runtime's own names, JAX and TensorFlow.
_OUT_OF_MEMORY = re.compile(
    r"CUDA(?: error:)? out of memory"
    r"|\b(?:torch\.(?:cuda\.)?|cupy\S*\.)OutOfMemoryError\b"
    r"|\bCUDA_ERROR_OUT_OF_MEMORY\b|\bcudaErrorMemoryAllocation\b|\bCUBLAS_STATUS_ALLOC_FAILED\b"
    r"|\bRESOURCE_EXHAUSTED: .*\b(?:memory|OOM|allocat\w*)"
    r"|\bResourceExhaustedError\b.*\bOOM\b|\bOOM when allocating tensor\b.*\bGPU\b"
)
_LINES, _LONGEST = 60, 300
_NO_SIGNS = Signs()
#: Besides an end of its own: on a card that does not answer a run makes no progress.
_MAY_BE_THE_CARD = frozenset({None, Cause.TIME_LIMIT, Cause.IDLE})
#: Seconds; a driver that hangs must not keep a result.
_LOOK = 5.0


@dataclass(frozen=True, slots=True)
class Findings:
    """What speaks for the card's being the reason."""

    signs: Signs = _NO_SIGNS
    #: The line of the output that says that a card had no memory left.
    out_of_memory: str = ""

    def add_to(self, evidence: Evidence) -> Evidence:
        """Return the evidence with this."""
        return replace(
            evidence,
            gpu_fault=bool(self.signs.faults),
            gpu_lost=self.signs.is_lost,
            gpu_out_of_memory=bool(self.out_of_memory),
        )

    def explain(self, detail: str, cause: Cause) -> str:
        """Add to what is said of a failure; what is the reason goes first."""
        reasons = self.signs.faults if cause is Cause.GPU_FAULT else ()
        if cause is Cause.GPU_OUT_OF_MEMORY:
            reasons = (self.out_of_memory,)
        besides = () if reasons else self.signs.notes
        return "; ".join(part for part in (*reasons, detail, *besides) if part)


def out_of_memory(lines: Sequence[str]) -> str:
    """Return the last line that says that a card had no memory left, or nothing."""
    found = (line.strip() for line in reversed(lines) if _OUT_OF_MEMORY.search(line))
    return next(found, "")[:_LONGEST]


async def findings(parts: Parts, use: Use, end: Exit, output: Path | None) -> Findings:
    """Look for a reason in the cards and in the last of the output, where the run failed.

    What ended well, or was ended because we were asked to, waits for nothing.
    """
    if not use.uuids or end.code == 0 or end.stopped_for not in _MAY_BE_THE_CARD:
        return Findings()
    with anyio.move_on_after(_LOOK):
        await parts.cards.next_look()
    lines: tuple[str, ...] = ()
    with anyio.move_on_after(_LOOK):
        lines = await last_lines(output, parts.redactor, most=_LINES)
    return Findings(parts.cards.signs(use), out_of_memory(lines))
