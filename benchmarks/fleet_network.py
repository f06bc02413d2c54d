"""A network of a benchmark's own: executors on one side, on the other a cloud at every address in 10.0.0.0/8.

Each side is a network namespace that lives as long as its processes, so nothing has to be put back. A cloud falls
silent when the route to its address is taken away behind the link: what is sent to it is dropped, whether it is an echo
request or the beginning of a connection. It needs root, and `ip`, `nsenter` and `unshare`.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack

from benchmarks.programs import Talking

TOOLS = ("ip", "nsenter", "unshare")
CLOUDS = """
ip link set lo up
ip link set v0 up
ip addr add 192.0.2.2/24 dev v0
ip route add local 10.0.0.0/8 dev lo
"""
EXECUTORS = """
ip link set lo up
ip link set v0 up
ip addr add 192.0.2.1/24 dev v0
ip route add 10.0.0.0/8 via 192.0.2.2
echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range
"""


def network_missing() -> str | None:
    """Why there can be no such network; None if there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it makes network namespaces, which takes root on Linux"
    if gone := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"there is no {' and no '.join(gone)} (packages iproute2 and util-linux)"
    return None


def address(number: int) -> str:
    """That of a cloud, by its number from 0 on."""
    return f"10.{number // 62_500}.{number // 250 % 250}.{number % 250 + 1}"


class Network:
    """`port`: where every cloud accepts connections."""

    def __init__(self, stack: ExitStack) -> None:
        self.clouds = Talking("benchmarks.soak_target", before=("unshare", "--net"))
        stack.callback(self.clouds.stop)
        self.port = int(self.clouds.hear()["port"])
        holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        stack.callback(holder.communicate)
        assert holder.stdin is not None
        holder.stdin.write(b"\n")
        holder.stdin.flush()
        assert holder.stdout is not None
        holder.stdout.read(1)  # its namespace is there
        self.inside = ("nsenter", f"--net=/proc/{holder.pid}/ns/net")  # before a command of an executor
        self._beyond = ("nsenter", f"--net=/proc/{self.clouds.pid}/ns/net")
        link = f"ip link add v0 type veth peer name v0 netns {self.clouds.pid}"
        for where, commands in ((self.inside, link), (self._beyond, CLOUDS), (self.inside, EXECUTORS)):
            subprocess.run([*where, "sh", "-ec", commands], check=True)

    def silence(self, numbers: Iterable[int]) -> None:
        """These clouds answer nobody any more."""
        self._route("add", numbers)

    def revive(self, numbers: Iterable[int]) -> None:
        """These clouds answer again."""
        self._route("del", numbers)

    def _route(self, action: str, numbers: Iterable[int]) -> None:
        lines = "".join(f"route {action} blackhole {address(number)}/32 table local\n" for number in numbers)
        if lines:
            subprocess.run([*self._beyond, "ip", "-batch", "-"], input=lines.encode(), check=True)
