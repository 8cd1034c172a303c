"""The accession id that names an attempt's metadata files (protocol section 7.2)."""

from __future__ import annotations

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def accession_id(host: str, started_at: float) -> str:
    """Return ``<host>-<base62 of the whole seconds>``; ids of one host sort by time.

    ``started_at`` is in seconds since the epoch and not negative.
    """
    seconds, digits = int(started_at), ""
    while seconds or not digits:
        seconds, digit = divmod(seconds, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return f"{host}-{digits}"
