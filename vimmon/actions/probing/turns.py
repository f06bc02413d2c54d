"""How many may do something at once; who waits for a turn, and how many they are."""

import asyncio
from types import TracebackType


class Turns:
    """`async with turns:` waits for a turn, has it, and gives it back."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.running = 0
        self.waiting = 0
        self._semaphore = asyncio.Semaphore(count)

    @property
    def free(self) -> bool:
        """Whether a turn is to be had without waiting."""
        return not self._semaphore.locked()

    async def take(self) -> None:
        self.waiting += 1
        try:
            await self._semaphore.acquire()
        finally:
            self.waiting -= 1
        self.running += 1

    def give_back(self) -> None:
        self.running -= 1
        self._semaphore.release()

    async def __aenter__(self) -> None:
        await self.take()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()
