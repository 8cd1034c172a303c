"""What loopback and the disk can do by themselves, measured in the same run."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

PIECE = 1 << 20


def loopback(count: int) -> float:
    """Return the seconds that ``count`` bytes take between two sockets of two threads."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def give() -> None:
            with listening.accept()[0] as connection:
                piece = memoryview(bytes(PIECE))
                for _ in range(count // PIECE):
                    connection.sendall(piece)

        giver = threading.Thread(target=give)
        giver.start()
        begun = time.perf_counter()
        with socket.create_connection(listening.getsockname()) as taking:
            buffer = bytearray(PIECE)
            while taking.recv_into(buffer):
                pass
        giver.join()
        return time.perf_counter() - begun


def disk_write(file: Path, count: int) -> float:
    """Return the seconds that writing ``count`` bytes to a new file takes, as transfers do it."""
    piece = os.urandom(PIECE)
    begun = time.perf_counter()
    with file.open("wb", buffering=0) as out:
        for _ in range(count // PIECE):
            out.write(piece)
    took = time.perf_counter() - begun
    file.unlink()
    return took


def disk_read(file: Path) -> float:
    """Return the seconds that reading a file that was just used takes."""
    buffer = bytearray(PIECE)
    begun = time.perf_counter()
    with file.open("rb", buffering=0) as opened:
        while opened.readinto(buffer):
            pass
    return time.perf_counter() - begun
