"""Echo requests that are overheard, replies and errors that are forged, and what else tests of icmp probes stand on."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.support.servers import UP, check
from vimmon.actions.probing import Prober
from vimmon.actions.probing.echo import SLOT_S
from vimmon.actions.probing.echo_peer import Peer
from vimmon.actions.probing.echo_socket import EchoSocket
from vimmon.probes import IcmpProbe, Outcome

NOT_ALLOWED = (
    "cannot probe: no ICMP socket is allowed here: let net.ipv4.ping_group_range contain this process's group, "
    "or grant CAP_NET_RAW"
)


def icmp(host: str = "127.0.0.1", *, s: float = 2, source: str | None = None) -> IcmpProbe:
    host = f"[{host.replace('%', '%25')}]" if ":" in host else host
    return IcmpProbe(auth_url=f"https://{host}:5000/v3", timeout_s=s, source_address=source)


def peer_at(prober: Prober, probe: IcmpProbe, told: Callable[[float | Exception | None], None]) -> Peer:
    """Who hears of the time that a reply took, or of what came instead."""

    def replied(peers: Sequence[Peer], _: float) -> None:
        for peer in peers:
            told(peer.rtt_s)

    found = prober.peer(probe, prober.asker(replied, lambda _, why: told(why)))
    assert found is not None
    return found[0]


def socket_of(prober: Prober) -> EchoSocket:
    """The only one."""
    (current,) = prober._shared.echo._current.values()
    return current.socket


async def expect_all(prober: Prober, probes: list[IcmpProbe]) -> None:
    outcomes: list[Outcome] = await asyncio.gather(*(prober.probe(probe) for probe in probes))
    for outcome in outcomes:
        check(outcome, UP, "ICMP reply")


def addresses_of(name: bytes, *_: object, **__: object) -> list[tuple[object, ...]]:
    addresses = ["127.0.0.7"] if name == b"one.test" else ["127.0.0.8", "127.0.0.9"]
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]


def slot_after(when: float) -> float:
    return (int(when / SLOT_S) + 1) * SLOT_S


@dataclass(frozen=True)
class Request:
    source: str
    target: str
    packet: bytes  # with its IP header
    ident: int
    sequence: int
    nonce: bytes


@asynccontextmanager
async def overhearing() -> AsyncIterator[Callable[[], Awaitable[Request]]]:
    """The next echo request that is sent on this network, as a raw socket sees it."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as ears:
        ears.setblocking(False)

        async def next_request() -> Request:
            while True:
                packet = await asyncio.get_running_loop().sock_recv(ears, 2048)
                kind, _, _, ident, sequence = struct.unpack_from("!BBHHH", packet, 20)
                if kind == 8:
                    source, target = (socket.inet_ntoa(packet[at : at + 4]) for at in (12, 16))
                    return Request(source, target, packet, ident, sequence, packet[28:36])

        yield next_request


def forge(
    request: Request,
    *,
    kind: int = 0,
    code: int = 0,
    ident: int | None = None,
    ahead: int = 0,
    nonce: bytes | None = None,
    source: str | None = None,
    cut: int = 16,
    options: bytes = b"",
    body: bytes | None = None,
) -> None:
    """Answers a request: as it should be, but for what is said. With a `body`, by an ICMP error about it."""
    if body is None:
        ident, nonce = request.ident if ident is None else ident, request.nonce if nonce is None else nonce
        body = struct.pack("!HH", ident, request.sequence + ahead) + nonce
        answer = struct.pack("!BBH", kind, code, 0) + body
    else:
        answer = struct.pack("!BBHI", kind, code, 0, 1400 if (kind, code) == (3, 4) else 0) + body
    answer = answer[:cut] if kind == 0 else answer
    total = sum(struct.unpack(f"!{(len(answer) + 1) // 2}H", answer + b"\0" * (len(answer) % 2)))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    answer = answer[:2] + struct.pack("!H", ~total & 0xFFFF) + answer[4:]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as mouth:
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, options)
        mouth.bind((source or request.target, 0))
        mouth.sendto(answer, (request.source, 0))
