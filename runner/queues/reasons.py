"""The reason of a dead letter, as long as its place allows: the beginning, and the very end."""

from __future__ import annotations

_CUT = "\n…\n"


def shortened(reason: str, most: int) -> str:
    """Return it in at most ``most`` bytes of UTF-8.

    It begins with why, and ends with the last lines of the output: what lies between is cut out.
    """
    data = reason.encode("utf-8", "replace")
    if len(data) <= most:
        return data.decode()
    room = most - len(_CUT.encode())
    if room <= 0:
        return data[:most].decode(errors="ignore")
    first = room // 2
    beginning = data[:first].decode(errors="ignore")
    return beginning + _CUT + data[len(data) - (room - first) :].decode(errors="ignore")
