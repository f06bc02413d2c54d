"""What VIMs are to a benchmark of starts: addresses that accept connections, and know when they were first asked."""

import socket
import threading
import time
from contextlib import suppress


class Doors:
    """An address of this machine for each VIM, behind one socket that notes when each was first asked."""

    def __init__(self) -> None:
        self.first: dict[str, float] = {}
        self._listener = socket.create_server(("0.0.0.0", 0), backlog=1024)
        self._port = self._listener.getsockname()[1]
        self._given = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def another(self) -> str:
        """An auth_url that nobody else has."""
        self._given += 1
        return f"http://127.1.{self._given // 250}.{self._given % 250 + 1}:{self._port}"

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with suppress(OSError):
                    self.first.setdefault(f"http://{connection.getsockname()[0]}:{self._port}", time.time())
                connection.close()
