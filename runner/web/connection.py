"""One connection of an HTTP client: bounded in bytes and in time, whatever it sends or does not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

import anyio
import h11
from anyio.abc import SocketStream

from runner.errors import RunnerError
from runner.web.limits import Limits
from runner.web.message import Answer, Request, sentence
from runner.web.peers import Peer

_CHUNK = 16 << 10
#: Bytes that are read in vain, so that who sends too much may read why.
_DRAINED = 4 << 20


class BadRequest(RunnerError):
    """What came is no request that can be answered."""

    def __init__(self, status: int, text: str) -> None:
        """``status``: as HTTP has it."""
        super().__init__(text)
        self.status = status


class Connection:
    """Serves the requests of one stream, one after the other."""

    def __init__(
        self,
        stream: SocketStream,
        answer: Callable[[Request], Awaitable[Answer]],
        limits: Limits,
        *,
        peer: Peer | None = None,
        waits: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """``waits`` is told when the client owes us a request, and when it does no more."""
        self._stream = stream
        self._answer = answer
        self._limits = limits
        self._peer = peer
        self._tell_waits = waits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head)

    async def serve(self) -> None:
        """Serve until either side has enough. Raises nothing for what a client does."""
        try:
            for number in range(self._limits.requests):
                self._tell_waits(True)  # noqa: FBT003 - the one thing that is told
                request = await self._next(is_first=number == 0)
                self._tell_waits(False)  # noqa: FBT003 - likewise
                if request is None:
                    return
                await self._send(await self._answer(request), request.method)
                if self._http.our_state is not h11.DONE:
                    return
                self._http.start_next_cycle()
        except BadRequest as error:
            await self._refuse(sentence(error.status, str(error)))
        except (
            TimeoutError,
            h11.ProtocolError,
            anyio.BrokenResourceError,
            anyio.ClosedResourceError,
        ):
            return

    # ------------------------------------------------------------------ in

    async def _next(self, *, is_first: bool) -> Request | None:
        """Return the next request; ``None``: there is none. Raises BadRequest."""
        try:
            if not is_first and not self._http.trailing_data[0]:
                with anyio.move_on_after(self._limits.idle) as idle:
                    await self._read()
                if idle.cancelled_caught:
                    return None
            with anyio.fail_after(self._limits.patience):
                return await self._request()
        except TimeoutError as error:
            seconds = f"{self._limits.patience:.0f} seconds"
            raise BadRequest(408, f"no whole request came within {seconds}") from error
        except h11.RemoteProtocolError as error:
            raise BadRequest(error.error_status_hint, f"this is no request: {error}") from error

    async def _request(self) -> Request | None:
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        if self._http.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            await self._stream.send(self._http.send(go_on) or b"")
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > self._limits.body:
                raise BadRequest(413, f"a request has at most {self._limits.body} bytes")
        if not isinstance(event, h11.EndOfMessage):
            return None
        path, _, query = head.target.decode("latin-1").partition("?")
        return Request(
            head.method.decode("ascii"),
            path,
            {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers},
            bytes(body),
            query,
            self._peer,
        )

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            await self._read()
        return event

    async def _read(self) -> None:
        try:
            self._http.receive_data(await self._stream.receive(_CHUNK))
        except anyio.EndOfStream:
            self._http.receive_data(b"")

    # ------------------------------------------------------------------ out

    async def _send(self, answer: Answer, method: str, **more: str) -> None:
        headers = {
            "content-type": answer.content_type,
            "content-length": str(len(answer.body)),
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            # No other site's page may take it in, as a picture or a script say.
            "cross-origin-resource-policy": "same-origin",
            **answer.headers,
            **more,
        }
        reason = HTTPStatus(answer.status).phrase
        head = h11.Response(status_code=answer.status, reason=reason, headers=list(headers.items()))
        data = self._http.send(head) or b""
        if method != "HEAD":
            data += self._http.send(h11.Data(data=answer.body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        with anyio.fail_after(self._limits.patience):
            await self._stream.send(data)

    async def _refuse(self, answer: Answer) -> None:
        """Say what is wrong and close; what was sent in vain is read, or it took that with it."""
        self._tell_waits(False)  # noqa: FBT003 - the one thing that is told
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        try:
            await self._send(answer, "", connection="close")
            with anyio.move_on_after(1.0):
                await self._stream.send_eof()
                for _ in range(_DRAINED // _CHUNK):
                    await self._stream.receive(_CHUNK)
        except (
            TimeoutError,
            h11.ProtocolError,
            anyio.EndOfStream,
            anyio.BrokenResourceError,
            anyio.ClosedResourceError,
        ):
            return
