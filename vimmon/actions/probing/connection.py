"""The connection of one http probe: to the VIM or through a proxy, with TLS where the URL says so."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from vimmon.actions.probing.certificates import expires_at
from vimmon.actions.probing.proxy import blamed_for_trouble, tunnel
from vimmon.actions.probing.reasons import EXPIRED, Trouble, certificate_expired, of_tls
from vimmon.actions.probing.resolver import Address
from vimmon.actions.probing.wire import Wire
from vimmon.probe_checks import target_of
from vimmon.probes import HttpProbe, Outcome

TLS_SHUTDOWN_S = 1.0  # how long a peer may take to say goodbye, in the background

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Connection:
    """`connected`: the VIM, or the proxy, has accepted. `trouble`: what is known to be wrong, whatever follows.
    `lost`: what ended it, after it was open."""

    def __init__(
        self, probe: HttpProbe, wire: Wire, addresses: Sequence[Address], context: ssl.SSLContext | None
    ) -> None:
        self._probe = probe
        self._target = target_of(probe.auth_url)
        self._wire = wire
        self._addresses = addresses
        self._context = context
        self.connected = False
        self.trouble: Outcome | None = None
        self.lost: Exception | None = None
        self.certificate_expires_at: datetime | None = None

    async def open(self, protocol: Callable[[], P]) -> P:
        """A protocol that is connected, and behind the TLS handshake if there is one. Raises Trouble."""
        if self._context is None:
            _, connected = await asyncio.get_running_loop().create_connection(protocol, sock=await self._reach())
            return connected
        try:
            transport, connected = await self._secured(protocol, self._context)
        except OSError as error:
            self._wire.ended("tls")
            self.trouble = of_tls(error)
            if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code == EXPIRED:
                await self._look_when_it_expired()
            raise Trouble(self.trouble) from None
        self._wire.ended("tls")
        self._note_certificate(transport)
        return connected

    async def _secured(self, protocol: Callable[[], P], context: ssl.SSLContext) -> tuple[asyncio.Transport, P]:
        """Raises Trouble for what comes before the handshake, OSError for what goes wrong in it."""
        connection = await self._reach()
        turn = self._wire.shared.handshakes.turn(self._probe.auth_url)
        waits = not turn.take_now()
        if waits:
            connection.close()  # servers close one on which nothing is said; who does not accept one needs no turn
            with self._wire.paused():
                await turn.take()
        with turn:
            if waits:
                connection = await self._reach()
            return await asyncio.get_running_loop().create_connection(
                protocol,
                sock=connection,
                ssl=context,
                server_hostname=self._probe.server_name or self._target.host.partition("%")[0].rstrip("."),
                ssl_shutdown_timeout=TLS_SHUTDOWN_S,
            )

    async def _reach(self) -> socket.socket:
        """A connection to the VIM, in plain. Raises Trouble."""
        with blamed_for_trouble(self._probe):
            connection = await self._wire.connect(self._addresses)
        self.connected = True
        if self._probe.proxy is not None:
            try:
                await tunnel(connection, self._target)
            except BaseException:
                connection.close()
                raise
        return connection

    async def _look_when_it_expired(self) -> None:
        """Asks for the certificate again without verifying it: one that was refused is not to be had."""
        try:
            transport, _ = await self._secured(asyncio.Protocol, await self._wire.shared.contexts.unverified())
        except (OSError, Trouble):
            return
        self._note_certificate(transport)
        transport.abort()
        if self.certificate_expires_at is not None:
            self.trouble = certificate_expired(self.certificate_expires_at, now=datetime.now(UTC))

    def _note_certificate(self, transport: asyncio.Transport) -> None:
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True)
        if certificate is not None:
            self.certificate_expires_at = expires_at(certificate)
