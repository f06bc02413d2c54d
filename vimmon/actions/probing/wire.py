"""What one probe has of the wire: its target, the target's addresses, and how to connect to one of them."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vimmon.actions.probing.reasons import Trouble, cannot_probe, of_connecting
from vimmon.actions.probing.resolver import Address
from vimmon.vim import Target

STAGGER_S = 0.25  # RFC 8305's delay before the next address is tried beside one that does not answer


class Tls:
    """The TLS context of a prober, made once: that takes 100 ms. It verifies certificates with the system's CAs."""

    def __init__(self) -> None:
        self._context = _verifying()

    def context(self) -> ssl.SSLContext:
        """Raises Trouble while this host has no CA certificates: every certificate would look untrusted."""
        self._context = self._context or _verifying()
        if self._context is None:
            raise Trouble(cannot_probe("this host has no CA certificates (package ca-certificates?)"))
        return self._context


@dataclass(frozen=True, slots=True)
class Wire:
    """One probe's way to its target. The probe's timeout lies around all of it."""

    target: Target
    addresses: Sequence[Address]
    timeout_s: float
    tls: Tls
    clock: Callable[[], float]

    async def connect(self) -> socket.socket:
        """A connected, non-blocking socket, which is the caller's to close.

        The next address is tried as soon as the one before fails, or while it keeps silent; the first connection wins.
        Raises Trouble when all have failed.
        """
        if len(self.addresses) > 1:
            return await self._race()
        try:
            return await _connect(self.addresses[0])
        except OSError as error:
            raise Trouble(of_connecting([error])) from None

    async def _race(self) -> socket.socket:
        stagger_s = min(STAGGER_S, self.timeout_s / (len(self.addresses) + 1))
        left = list(self.addresses)
        running: set[asyncio.Task[socket.socket]] = set()
        errors: list[OSError] = []
        try:
            while left or running:
                if left:
                    running.add(asyncio.create_task(_connect(left.pop(0))))
                done, _ = await asyncio.wait(
                    running, timeout=stagger_s if left else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    running.discard(task)
                    try:
                        return task.result()
                    except OSError as error:
                        errors.append(error)
        finally:
            for task in running:
                task.cancel()
                task.add_done_callback(_discard)
        raise Trouble(of_connecting(errors))


async def _connect(address: Address) -> socket.socket:
    connection = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, address.sockaddr)
    except BaseException:
        connection.close()
        raise
    return connection


def _discard(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _verifying() -> ssl.SSLContext | None:
    context = ssl.create_default_context()
    folder = ssl.get_default_verify_paths().capath  # OpenSSL looks into it when it meets a certificate
    has_cas = context.cert_store_stats()["x509_ca"] or (folder and os.listdir(folder))
    return context if has_cas else None
