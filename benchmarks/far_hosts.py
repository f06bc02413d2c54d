"""`python -m benchmarks.far_hosts`: all hosts of 198.18.0.0/15 reply to echo requests, each after a time of its own.

As root: they are behind a device (TUN) that is there for as long as this runs. It prints as JSON where they are, and
ends with its standard input.
"""

import fcntl
import heapq
import json
import os
import select
import struct
import subprocess
import sys
import time

DEVICE = "vimmon-far"
NETWORK = "198.19.255.254/15"  # for benchmarks: RFC 2544; and where this host is in it
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
NEAREST_MS, FARTHEST_MS = 5, 200
IPV4, ICMP, REQUEST, HEADER_BYTES = 0x45, 1, 8, 20
PACKET_MAX = 2048


def opened() -> int:
    """The device, as a file of packets."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("=16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    for order in (["address", "add", NETWORK, "dev", DEVICE], ["link", "set", DEVICE, "up"]):
        subprocess.run(["ip", *order], check=True)
    return device


def reply_to(packet: bytes) -> bytes | None:
    """None where it is no echo request. Its type is 0 in place of 8, and the checksum as much more."""
    if len(packet) < HEADER_BYTES + 8 or packet[0] != IPV4 or packet[9] != ICMP or packet[HEADER_BYTES] != REQUEST:
        return None
    checksum = int.from_bytes(packet[22:24], "big") + (REQUEST << 8)
    checksum = (checksum & 0xFFFF) + (checksum >> 16)
    return packet[:12] + packet[16:20] + packet[12:16] + b"\0\0" + checksum.to_bytes(2, "big") + packet[24:]


def after_s(reply: bytes) -> float:
    """How long the host that sends it takes."""
    host = int.from_bytes(reply[12:16], "big")
    return (NEAREST_MS + host * 2_654_435_761 % (FARTHEST_MS - NEAREST_MS)) / 1000


def serve(device: int) -> None:
    """Until standard input ends."""
    due: list[tuple[float, bytes]] = []
    while True:
        wait_s = max(0.0, due[0][0] - time.monotonic()) if due else None
        readable, _, _ = select.select([device, sys.stdin], [], [], wait_s)
        if sys.stdin in readable:
            return
        if device in readable and (reply := reply_to(os.read(device, PACKET_MAX))):
            heapq.heappush(due, (time.monotonic() + after_s(reply), reply))
        now = time.monotonic()
        while due and due[0][0] <= now:
            os.write(device, heapq.heappop(due)[1])


def main() -> None:
    device = opened()
    print(json.dumps({"network": "198.18", "port": 9}), flush=True)
    serve(device)


if __name__ == "__main__":
    main()
