"""The W3C trace context: which trace a request belongs to, as its sender writes it. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

#: The member of messages, headers and attributes that bears it, and an experiment's variable.
TRACEPARENT = "traceparent"
VARIABLE = TRACEPARENT.upper()
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_LONGEST = 500
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span of a trace, as whoever goes on in the trace has to know it."""

    #: 128 and 64 bits, neither of them 0.
    trace_id: int
    span_id: int
    #: Whoever began the trace wants it kept.
    is_sampled: bool = True

    @staticmethod
    def read(written: object) -> TraceContext | None:
        """Read a ``traceparent``; ``None`` for what is none, and of no interest then.

        A later version may have more behind the four fields that all of them have.
        """
        if not isinstance(written, str) or len(written) > _LONGEST:
            return None
        found = _FORM.fullmatch(written.strip())
        if found is None:
            return None
        version, trace, span, flags, more = found.groups()
        ids = int(trace, 16), int(span, 16)
        if version == "ff" or (version == "00" and more is not None) or 0 in ids:
            return None
        return TraceContext(*ids, is_sampled=bool(int(flags, 16) & _SAMPLED))

    @property
    def traceparent(self) -> str:
        """Write it as W3C's version 00."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.is_sampled:02x}"

    def at(self, *parts: object) -> TraceContext:
        """Return another span of the trace: the same for the same ``parts``, in every process."""
        return TraceContext(self.trace_id, _number(8, "span", parts), self.is_sampled)


def trace_of(*parts: object) -> int:
    """Return a trace's number: the same for the same ``parts``, on every machine."""
    return _number(16, "trace", parts)


def _number(size: int, kind: str, parts: tuple[object, ...]) -> int:
    written = "\0".join(("studio-runner", kind, *map(str, parts)))
    digest = hashlib.sha256(written.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:size]) or 1
