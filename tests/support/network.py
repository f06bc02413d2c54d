"""A network of a test's own: a thread in a new network namespace, with loopback, a link to nowhere, and sysctls to set.

Linux keeps a thread's network and its capabilities apart from those of the other threads, so that nothing has to be put
back. That takes the right to make a namespace, which root has outside most containers.
"""

import asyncio
import ctypes
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.polling import until

CLONE_NEWNET = 0x40000000
CAP_NET_RAW = 13
ROUTES, RTF_LOCAL = "/proc/thread-self/net/ipv6_route", 0x80000000  # linux/ipv6_route.h
CAPABILITIES_3 = 0x20080522  # linux/capability.h
LINK = """
ip link set lo up
ip link add v0 type veth peer name v1
ip link set v0 up
ip link set v1 up
ip addr add 198.51.100.1/24 dev v0
ip -6 addr add 2001:db8:51::1/64 dev v0 nodad
ip -6 addr add fe80::51/64 dev v0 nodad
"""
QUICK = {"ipv4/neigh/v0": 4, "ipv6/neigh/v0": 6}  # to find out that nobody is there takes 3 s by default

libc = ctypes.CDLL(None, use_errno=True)


def set_sysctl(name: str, value: object) -> None:
    Path("/proc/sys/net", name).write_text(str(value))


def run(commands: str) -> None:
    subprocess.run(["sh", "-ec", commands], check=True, capture_output=True)


def drop_net_raw() -> None:
    """This thread may not open raw sockets any more."""
    header = struct.pack("Ii", CAPABILITIES_3, 0)
    data = ctypes.create_string_buffer(24)
    _check(libc.capget(header, data))
    words = list(struct.unpack("6I", data.raw))
    words[0] &= ~(1 << CAP_NET_RAW)
    _check(libc.capset(header, struct.pack("6I", *words)))


async def in_own_network(test: Callable[[], Awaitable[None]], *, pings: bool = True) -> None:
    """Runs `test` in a loop of its own in such a network. `pings`: any group may open datagram ICMP sockets."""
    trouble: list[BaseException] = []

    def body() -> None:
        try:
            _enter()
            set_sysctl("ipv4/ping_group_range", "0 2147483647" if pings else "1 0")
            asyncio.run(_within(test))
        except BaseException as error:  # noqa: BLE001 - raised again where the test is awaited
            trouble.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    await asyncio.get_running_loop().run_in_executor(None, thread.join)
    if trouble:
        raise trouble[0]


async def _within(test: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(60):
        await test()


def _enter() -> None:
    if libc.unshare(CLONE_NEWNET) != 0:
        pytest.skip(f"no network namespace can be made here ({os.strerror(ctypes.get_errno())})")
    try:
        run(LINK)
        _await_own_routes()
        for folder in QUICK:
            set_sysctl(f"{folder}/retrans_time_ms", 20)
            set_sysctl(f"{folder}/mcast_solicit", 1)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a network namespace cannot be set up here ({error})")


def _await_own_routes() -> None:
    """A worker of the kernel adds the routes to this network's own IPv6 addresses, a little after these are there.
    Until then, a request to one of them leaves by the link, where nobody is."""
    addresses = ("2001:db8:51::1", "fe80::51", "::1")
    own = {f"{socket.inet_pton(socket.AF_INET6, address).hex()} 80" for address in addresses}
    until(lambda: own <= {line[:35] for line in Path(ROUTES).read_text().splitlines() if _is_local(line)})


def _is_local(route: str) -> bool:
    return bool(int(route.split()[8], 16) & RTF_LOCAL)


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), "capabilities")
