"""The servers that `benchmarks.probes` asks, in a process of their own: `python -m benchmarks.probe_servers FOLDER`."""

import asyncio
import sys
from pathlib import Path

from tests.support.authority import Authority
from tests.support.servers import VERSIONS, Web, hang_up, serving


class Forgetful(Web):
    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await super().__call__(reader, writer)
        self.requests.clear()


async def main(folder: Path) -> None:
    tls = Authority(folder, "authority").server()
    web = Forgetful(300, VERSIONS, "Connection: close")
    async with serving(hang_up) as tcp, serving(web) as http, serving(web, tls=tls) as https:
        sys.stdout.write(f"{tcp} {http} {https}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().connect_read_pipe(lambda: Parent(), sys.stdin)
        await Parent.gone.wait()


class Parent(asyncio.Protocol):
    gone = asyncio.Event()

    def eof_received(self) -> None:
        self.gone.set()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
