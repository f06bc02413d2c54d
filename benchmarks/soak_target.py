"""`python -m benchmarks.soak_target`: accepts connections to any local address, and closes them.

It prints as JSON where it is, and ends with its standard input.
"""

import json
import os
import socket
import sys
import threading

BACKLOG = 4096


def accept(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        connection.close()


def main() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as chosen:
        port = chosen.getsockname()[1]
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("", port))
    listener.listen(BACKLOG)
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    print(json.dumps({"network": "127.1", "port": port}), flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
