"""Stands between a process and a server it talks to, and can be shut: connections break, or say nothing any more.

Given shears, it breaks single connections to Redis, in the middle of a command or just before its answer arrives.
"""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from tests.chaos.shears import Shears

BACKLOG = 128
CHUNK = 65536


class Valve:
    """Passes on what comes to `port` to `to_port` of this machine."""

    def __init__(self, to_port: int, to_host: str = "127.0.0.1") -> None:
        self._to = (to_host, to_port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self._flows = threading.Event()
        self._flows.set()
        self._refuses = False
        self._ended = False
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self.shears: Shears | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def shut(self) -> None:
        """Every connection breaks, and new ones break at once."""
        self._refuses = True
        self._break_all()

    def hold(self) -> None:
        """Nothing is passed on, and nobody is told: as when packets get lost. What is sent now arrives at `open`."""
        self._flows.clear()
        self._refuses = False

    def open(self) -> None:
        self._refuses = False
        self._flows.set()

    def close(self) -> None:
        self._ended = True
        self._flows.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._break_all()

    def _break_all(self) -> None:
        with self._lock:
            for one in self._sockets:
                _break(one)

    def _accept(self) -> None:
        while not self._ended:
            try:
                asking, _ = self._listener.accept()
            except OSError:
                return
            if self._refuses:
                asking.close()
            else:
                threading.Thread(target=self._connect, args=[asking], daemon=True).start()

    def _connect(self, asking: socket.socket) -> None:
        self._flows.wait()
        try:
            asked = socket.create_connection(self._to)
        except OSError:
            asking.close()
            return
        pair = {asking, asked}
        with self._lock:
            self._sockets |= pair
        if self._refuses:  # shut meanwhile
            self._break_all()
        lost = threading.Event()  # the next answer
        back = threading.Thread(target=self._pump, args=[asked, asking, lost], daemon=True)
        back.start()
        self._pump_commands(asking, asked, lost)
        back.join()
        with self._lock:
            self._sockets -= pair
        for one in pair:
            one.close()

    def _pump_commands(self, source: socket.socket, sink: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                self._flows.wait()
                cut = self.shears.cut(data) if self.shears else None
                if cut is None:
                    sink.sendall(data)
                    continue
                if cut.where == "answer":
                    lost.set()
                    sink.sendall(data[: cut.upto])
                    return  # it is broken when the answer comes
                sink.sendall(data[: cut.upto])
                break
        _break(source, sink)

    def _pump(self, source: socket.socket, sink: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(CHUNK)) and not lost.is_set():
                self._flows.wait()
                sink.sendall(data)
        _break(source, sink)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _break(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


class Targets:
    """What VIMs' auth_urls point to: ports that accept connections, each of which can be closed and opened again."""

    def __init__(self, count: int) -> None:
        self.asked = 0  # how many connections were accepted, at all of them
        self._listeners: dict[int, socket.socket] = {}
        for _ in range(count):
            listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
            self._serve(listener.getsockname()[1], listener)
        self.ports = list(self._listeners)

    def url(self, number: int) -> str:
        return f"http://127.0.0.1:{self.ports[number]}"

    def stop(self, number: int) -> None:
        """From now on that port refuses connections."""
        listener = self._listeners.pop(self.ports[number])
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # else the waiting accept keeps it open
        listener.close()

    def start(self, number: int) -> None:
        port = self.ports[number]
        if port not in self._listeners:
            self._serve(port, socket.create_server(("127.0.0.1", port), backlog=BACKLOG))

    def close(self) -> None:
        for number, port in enumerate(self.ports):
            if port in self._listeners:
                self.stop(number)

    def _serve(self, port: int, listener: socket.socket) -> None:
        self._listeners[port] = listener
        threading.Thread(target=self._accept, args=[listener], daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                listener.accept()[0].close()
                self.asked += 1
