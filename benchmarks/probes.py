"""What a probe of each kind costs in CPU, beside `ping`, `fping` and `blackbox_exporter`: `make bench-probes`.

CPU time counts, not wall time: that of the process that probes and of its children, and not that of the servers asked.
The competitors take turns in each of ROUNDS rounds, so that whatever else the machine does hits all alike; medians are
compared. All traffic stays on loopback. What the machine does not have is left out, and said so.
"""

import asyncio
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

from vimmon.actions.probing import Prober
from vimmon.actions.probing.echo_peer import Peer
from vimmon.embedded.process import free_port
from vimmon.probes import IcmpProbe, Probe, parse_probe
from vimmon.vim import VimStatus

ROUNDS = 7
AT_ONCE = 50  # as many as one slot of the wheel holds, with 10,000 VIMs asked every 10 s
COUNTS = {"icmp": 4000, "tcp": 2000, "http": 600, "https": 200}
# (kind, competitor): how often ours must go for the same CPU time
TARGETS = {
    ("icmp", "fping"): 0.5,
    ("icmp", "ping"): 50.0,
    ("tcp", "blackbox_exporter"): 2.5,
    ("http", "blackbox_exporter"): 1.3,
    ("https", "blackbox_exporter"): 0.7,
}
MODULES = """
modules:
  icmp: {prober: icmp, timeout: 5s, icmp: {preferred_ip_protocol: ip4}}
  tcp: {prober: tcp, timeout: 5s}
  http: {prober: http, timeout: 5s, http: {valid_status_codes: [300], follow_redirects: false}}
  https:
    prober: http
    timeout: 5s
    http: {valid_status_codes: [300], follow_redirects: false, tls_config: {ca_file: CA}}
"""
HOSTS = [f"127.0.{i // 250}.{i % 250 + 1}" for i in range(1000)]


def own_cpu_s() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


async def ours(prober: Prober, probes: list[Probe], count: int) -> float:
    """CPU seconds of one probe."""
    began = own_cpu_s()
    for first in range(0, count, AT_ONCE):
        wave = [probes[(first + i) % len(probes)] for i in range(AT_ONCE)]
        for outcome in await asyncio.gather(*(prober.probe(probe) for probe in wave)):
            if outcome.status != VimStatus.REACHABLE:
                raise SystemExit(f"error: {outcome.reason}")
    return (own_cpu_s() - began) / count


async def our_echoes(prober: Prober, probes: list[Probe], count: int) -> float:
    """The same of echoes, asked as an executor asks: those of a slot in one go, by peers that were made before."""
    left, told_all = 0, asyncio.Event()

    def replied(peers: Sequence[Peer], at: float) -> None:
        nonlocal left
        left -= len(peers)
        if not left:
            told_all.set()

    def failed(peer: Peer, why: Exception | None) -> None:
        raise SystemExit(f"error: {why or 'no reply'}")

    asker = prober.asker(replied, failed)
    peers = [found[0] for probe in probes if isinstance(probe, IcmpProbe) and (found := prober.peer(probe, asker))]
    began = own_cpu_s()
    for first in range(0, count, AT_ONCE):
        left = AT_ONCE
        told_all.clear()
        prober.ask([peers[(first + i) % len(peers)] for i in range(AT_ONCE)])
        await told_all.wait()
    return (own_cpu_s() - began) / count


async def ping() -> float:
    count, began = 30, own_cpu_s()
    for _ in range(count):
        subprocess.run(["ping", "-c", "1", "-q", "127.0.0.1"], check=True, capture_output=True)
    return (own_cpu_s() - began) / count


async def fping() -> float:
    began = own_cpu_s()
    command = ["fping", "-q", "-c", "20", "-p", "20", "-i", "0", *HOSTS]
    subprocess.run(command, check=True, capture_output=True)
    return (own_cpu_s() - began) / (20 * len(HOSTS))


class Blackbox:
    """A running blackbox_exporter. Its own CPU time counts, and not that of asking it."""

    def __init__(self, command: str, folder: Path) -> None:
        config = folder / "blackbox.yml"
        config.write_text(MODULES.replace("CA", str(folder / "authority.pem")))
        self._address = f"127.0.0.1:{free_port()}"
        arguments = [command, f"--config.file={config}", f"--web.listen-address={self._address}", "--log.level=error"]
        self._process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
        self._pool = ThreadPoolExecutor(8)
        deadline = time.monotonic() + 20
        while True:
            try:
                urllib.request.urlopen(f"http://{self._address}/", timeout=5).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    async def probe(self, kind: str, target: str, count: int) -> float:
        query = urllib.parse.urlencode({"module": kind, "target": target})

        def ask(_: int) -> bool:
            with urllib.request.urlopen(f"http://{self._address}/probe?{query}", timeout=10) as answer:
                return b"\nprobe_success 1\n" in answer.read()

        began = self._cpu_s()
        if not all(self._pool.map(ask, range(count))):
            raise SystemExit(f"error: blackbox_exporter did not reach {target} by {kind}")
        return (self._cpu_s() - began) / count

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._pool.shutdown()


async def measure(folder: Path, ports: dict[str, str]) -> dict[tuple[str, str], list[float]]:
    """CPU seconds of a probe, by kind and by who probed, one for each round."""
    urls = {
        "icmp": [f"http://{host}" for host in HOSTS],
        "tcp": [f"http://127.0.0.1:{ports['tcp']}"],
        "http": [f"http://127.0.0.1:{ports['http']}/"],
        "https": [f"https://127.0.0.1:{ports['https']}/"],
    }
    settings = {"icmp": {"kind": "icmp"}, "tcp": {"kind": "tcp"}, "http": {"kind": "http", "preset": "keystone"}}
    settings["https"] = settings["http"] | {"ca_file": str(folder / "authority.pem")}
    probes = {
        kind: [
            parse_probe(
                {
                    **settings[kind],
                    "auth_url": url,
                }
            )
            for url in urls[kind]
        ]
        for kind in urls
    }
    others: dict[tuple[str, str], Callable[[], Awaitable[float]]] = {}
    command = shutil.which("prometheus-blackbox-exporter") or shutil.which("blackbox_exporter")
    blackbox = Blackbox(command, folder) if command else None
    if blackbox:
        for kind in urls:
            target = {"icmp": "127.0.0.1", "tcp": f"127.0.0.1:{ports['tcp']}"}.get(kind, urls[kind][0])
            others[kind, "blackbox_exporter"] = partial(blackbox.probe, kind, target, 200)
    for name, run in (("ping", ping), ("fping", fping)):
        if shutil.which(name):
            others["icmp", name] = run
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    try:
        async with Prober() as prober:
            for number in range(ROUNDS + 1):
                for kind in urls:
                    ask = our_echoes if kind == "icmp" else ours
                    cost_s = {(kind, "vimmon"): await ask(prober, probes[kind], COUNTS[kind])}
                    cost_s |= {who: await run() for who, run in others.items() if who[0] == kind}
                    for who, each_s in cost_s.items():
                        if number:  # the first warms up
                            found[who].append(each_s)
    finally:
        if blackbox:
            blackbox.close()
    return found


def report(found: dict[tuple[str, str], list[float]]) -> bool:
    """Prints the table. Whether no target is missed."""
    print(f"{'kind':6} {'who':18} {'CPU µs a probe':>15} {'a second and core':>18} {'ours':>8} {'target':>8}")
    fine = True
    for (kind, who), costs_s in sorted(found.items(), key=lambda item: (item[0][0], item[0][1] != "vimmon")):
        cost_s = median(costs_s)
        line = f"{kind:6} {who:18} {cost_s * 1e6:15.1f} {1 / cost_s:18,.0f}"
        if who != "vimmon":
            ratio, target = cost_s / median(found[kind, "vimmon"]), TARGETS.get((kind, who))
            missed = target is not None and ratio < target
            fine = fine and not missed
            line += f" {ratio:7.2f}x" + (f" {target:7.2f}x" if target else "") + ("  MISSED" if missed else "")
        print(line)
    for kind, who in TARGETS.keys() - found.keys():
        print(f"not compared: {kind} with {who}, which is not installed here")
    return fine


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.probe_servers", folder]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as target:
            assert target.stdout is not None
            ports = dict(zip(("tcp", "http", "https"), target.stdout.readline().split(), strict=True))
            found = asyncio.run(measure(Path(folder), ports))
            target.communicate()
    sys.exit(0 if report(found) else 1)


if __name__ == "__main__":
    main()
