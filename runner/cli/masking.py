"""What a command masks of an experiment: what it can know to be secret without its message."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Iterator, Mapping

from runner.client.shop import Shop
from runner.redaction import Redactor
from runner.redaction.names import of_data, of_variables


def redactor_for(
    shop: Shop | None = None, key: str = "", environ: Mapping[str, str] = os.environ
) -> Redactor:
    """Return a redactor that knows the user's own variables and the experiment's artifacts' keys.

    ``config.env`` is in the message alone: of an output that was stored, which is its owner's, a
    command masks none of that.
    """
    redactor = Redactor()
    redactor.add(*of_variables(environ.items()))
    experiment = shop.experiment(key) if shop is not None else None
    redactor.add(*of_data(experiment))
    return redactor


def masked(pieces: Iterable[bytes], redactor: Redactor) -> Iterator[str]:
    """Yield an output as it may be shown, a piece at a time, wherever it was cut."""
    stream, text = redactor.stream(), codecs.getincrementaldecoder("utf-8")("replace")
    for piece in pieces:
        yield text.decode(stream.feed(piece))
    yield text.decode(stream.close(), final=True)
