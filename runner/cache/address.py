"""Under which name a content is kept: who may share what with whom. Pure.

``docs/decisions/008-artifact-cache.md`` gives the reasons.
"""

from __future__ import annotations

import hashlib
import json

from runner.archives.unpack import file_name_of
from runner.cache.base import Source

#: Nobody can make another content with a digest that somebody else's has. CRCs are not among them.
_IDENTIFYING = frozenset({"sha256", "md5", "md5-parts"})
#: Their servers compute the digest, whatever the owner of an object says.
_COMPUTED = frozenset({"s3", "gs"})


def address(source: Source, owner: int) -> str | None:
    """Return the key of an artifact whose files belong to the user ``owner``.

    ``None`` where nothing tells that the content is the same at the next look. Raises BadField for
    a single file whose key ends in no file name.
    """
    location = source.location
    content = _content(source)
    if content is None:
        return None
    scope = [location.scheme, location.host, source.endpoint, location.bucket]
    form = ["tree"] if source.unpack else ["file", file_name_of(location.path)]
    parts = json.dumps([scope, content, form, owner])
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


def _content(source: Source) -> list[object] | None:
    """Return what identifies the content within the scope of one bucket of one endpoint."""
    info, checksum = source.info, source.info.checksum
    is_known = checksum is not None and checksum.algorithm in _IDENTIFYING
    if checksum is not None and is_known and source.location.scheme in _COMPUTED:
        return ["digest", checksum.algorithm, checksum.digest, info.size]
    told = [checksum.algorithm, checksum.digest] if checksum is not None else []
    if not info.version and not is_known:
        return None
    return ["name", source.location.key, info.version, info.size, told]
