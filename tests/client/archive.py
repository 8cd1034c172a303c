"""Objects that a runner would have stored."""

from __future__ import annotations

import io
import tarfile

from runner.client.shop import Shop


def put(shop: Shop, name: str, body: bytes) -> None:
    """Store an object."""
    shop.amend(name, lambda _: body)


def packed(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    """Return an archive of files; a ready header stands for a member of another kind."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, body in members.items():
            if isinstance(body, tarfile.TarInfo):
                archive.addfile(body)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return stream.getvalue()
