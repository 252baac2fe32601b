"""A wire between a stack and a service, which a test may cut."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

CHUNK = 65_536


class Wire:
    """Listens on a port of its own and passes bytes on; `connect` opens the connection to the service."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._open = True

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listener.close()
        self.cut(stay=True)

    def cut(self, *, stay: bool = False) -> None:
        """Break all connections; with `stay`, new ones are broken too, until `mend`."""
        with self._lock:
            self._open = not stay
            broken, self._pairs = self._pairs, set()
        # Only shut down here: the thread that passes bytes on wakes, and closes what it alone waits for.
        for pair in broken:
            for end in pair:
                _shut(end)

    def mend(self) -> None:
        with self._lock:
            self._open = True

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = self._connect()
            except OSError:
                _break(near)
                continue
            with self._lock:
                passing = self._open
                if passing:
                    self._pairs.add((near, far))
            if passing:
                threading.Thread(target=self._pass_on, args=(near, far), daemon=True).start()
            else:
                _break(near)
                _break(far)

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(near, selectors.EVENT_READ, far)
            ready.register(far, selectors.EVENT_READ, near)
            try:
                while True:
                    for key, _ in ready.select():
                        source: socket.socket = key.fileobj  # type: ignore[assignment]
                        data = source.recv(CHUNK)
                        if not data:
                            return
                        key.data.sendall(data)
            except OSError:
                return
            finally:
                with self._lock:
                    self._pairs.discard((near, far))
                for end in (near, far):
                    _break(end)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def _break(end: socket.socket) -> None:
    _shut(end)
    end.close()
