"""Carries beats to a store from a thread that nobody waits for, not even the end of the process.

A file system over a network, or a name server, may let its callers hang, and a thread that hangs
can be neither stopped nor joined. So this one has a loop of its own, and all that it starts.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field

import anyio
from anyio.abc import ObjectReceiveStream
from anyio.streams.memory import MemoryObjectSendStream

#: Writes an object of this name. Raises RunnerError.
Put = Callable[[str, bytes], Awaitable[None]]


@dataclass(eq=False)
class _Parcel:
    """One object under way."""

    name: str
    body: bytes
    sender: asyncio.AbstractEventLoop
    arrived: anyio.Event = field(default_factory=anyio.Event)
    error: Exception | None = None

    def deliver(self) -> None:
        """Say so where it was sent."""
        with suppress(RuntimeError):  # nobody is there any more
            self.sender.call_soon_threadsafe(self.arrived.set)


@dataclass(eq=False)
class Carrier:
    """One object at a time; used from one event loop."""

    #: Opens the store, in the thread.
    opened: Callable[[], AbstractAsyncContextManager[Put]]
    #: Seconds after which an object that is under way is given up, where that can be done.
    patience: float
    _thread: threading.Thread | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _inlet: MemoryObjectSendStream[_Parcel] | None = None
    _ready: threading.Event = field(default_factory=threading.Event)
    _under_way: _Parcel | None = None
    _over: anyio.Event = field(default_factory=anyio.Event)

    async def carry(self, name: str, body: bytes) -> None:
        """Return when it has arrived; meant to be cancelled. Raises what the store raises.

        What hangs is not sent a second time: the next one waits behind it.
        """
        before = self._under_way
        if before is not None and self._lives:
            await before.arrived.wait()
        parcel = self._under_way = _Parcel(name, body, asyncio.get_running_loop())
        self._post(parcel)
        await parcel.arrived.wait()
        self._under_way = None
        if parcel.error is not None:
            raise parcel.error

    async def close(self, seconds: float) -> None:
        """Have the store closed, and wait for that; not for what hangs."""
        if self._thread is None or not self._lives:
            return
        self._call(lambda inlet: inlet.close())
        if self._under_way is None:
            with anyio.move_on_after(seconds):
                await self._over.wait()
                self._thread.join()

    @property
    def _lives(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _post(self, parcel: _Parcel) -> None:
        if not self._lives:
            self._begin()
        self._call(lambda inlet: inlet.send_nowait(parcel))

    def _begin(self) -> None:
        self._over, self._ready = anyio.Event(), threading.Event()
        ended = (asyncio.get_running_loop(), self._over)
        self._thread = threading.Thread(target=self._run, args=ended, name="fleet", daemon=True)
        self._thread.start()
        self._ready.wait()

    def _call(self, function: Callable[[MemoryObjectSendStream[_Parcel]], None]) -> None:
        if self._loop is not None and self._inlet is not None:
            self._loop.call_soon_threadsafe(function, self._inlet)

    # ------------------------------------------------------------------ in the thread

    def _run(self, sender: asyncio.AbstractEventLoop, over: anyio.Event) -> None:
        try:
            anyio.run(self._serve)
        finally:
            self._ready.set()
            with suppress(RuntimeError):  # nobody is there any more
                sender.call_soon_threadsafe(over.set)

    async def _serve(self) -> None:
        inlet, outlet = anyio.create_memory_object_stream[_Parcel](math.inf)
        self._loop, self._inlet = asyncio.get_running_loop(), inlet
        self._ready.set()
        async with outlet, self.opened() as put:
            await self._carry_all(outlet, put)

    async def _carry_all(self, outlet: ObjectReceiveStream[_Parcel], put: Put) -> None:
        async for parcel in outlet:
            try:
                with anyio.fail_after(self.patience):
                    await put(parcel.name, parcel.body)
            except TimeoutError:
                parcel.error = TimeoutError()  # not what it interrupted: that may be kept for long
            except Exception as error:  # noqa: BLE001 - whoever sent it judges it
                parcel.error = error
            parcel.deliver()
