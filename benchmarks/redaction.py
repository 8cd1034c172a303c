"""How fast text passes the redactor, against copying it: few secrets, thousands, and hostile text.

The chunks are those of a live output. *Hostile* is what is dearest to search: beginnings of keys
and names of secrets with nothing behind them. Each line is the best of three.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

from runner.redaction import Redactor

SIZE = 8 << 20
CHUNK = 64 << 10
TRIES = 3


def training() -> bytes:
    """Return what a training prints."""
    dice = random.Random(1)  # noqa: S311 - a simulation
    lines = (
        b"epoch %d: loss %.4f accuracy %.3f num_tokens=%d https://host/x?y=1 weights saved\n"
        % (number, dice.random(), dice.random(), number)
        for number in range(SIZE // 80)
    )
    return b"".join(lines)[:SIZE]


def hostile() -> bytes:
    """Return what costs most."""
    piece = b"-----BEGIN PRIVATE KEY-----\npassword=\napi_key token: ://a: ?sig= Bearer eyJ xoxb-\n"
    return (piece * (SIZE // len(piece) + 1))[:SIZE]


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut as it is read."""
    return (data[place : place + CHUNK] for place in range(0, len(data), CHUNK))


def copied(data: bytes) -> None:
    """Copy and do nothing else."""
    bytearray().join(pieces(data))


def redacted(redactor: Redactor) -> Callable[[bytes], None]:
    """Return what passes a redactor."""

    def act(data: bytes) -> None:
        stream = redactor.stream()
        for piece in pieces(data):
            stream.feed(piece)
        stream.close()

    return act


def knowing(count: int) -> Redactor:
    """Return a redactor of so many secrets."""
    dice, redactor = random.Random(count), Redactor()  # noqa: S311 - none is a secret
    redactor.add(*(dice.randbytes(dice.randint(5, 30)).hex() for _ in range(count)))
    return redactor


def speed(act: Callable[[bytes], None], data: bytes) -> float:
    """Return the megabytes of a second."""
    best = float("inf")
    for _ in range(TRIES):
        began = time.perf_counter()
        act(data)
        best = min(best, time.perf_counter() - began)
    return len(data) / best / 1e6


def main() -> None:
    """Print a line for each."""
    usual, worst = training(), hostile()
    print(f"{'copied':28}{speed(copied, usual):8.0f} MB/s")
    for count in (0, 10, 100, 5_000):
        began = time.perf_counter()
        redactor = knowing(count)
        learned = time.perf_counter() - began
        said = f"{count} secrets"
        print(f"{said:28}{speed(redacted(redactor), usual):8.1f} MB/s", end="")
        print(f"   hostile {speed(redacted(redactor), worst):6.1f} MB/s", end="")
        print(f"   learned in {learned * 1e3:.1f} ms")
    lines = usual.decode().splitlines()[:5_000]
    redactor = knowing(10)
    began = time.perf_counter()
    for line in lines:
        redactor.redact(line)
    each = (time.perf_counter() - began) / len(lines)
    print(f"{'a line of the log':28}{each * 1e6:8.1f} µs")


if __name__ == "__main__":
    main()
