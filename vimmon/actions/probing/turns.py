"""How many may do something at once: a semaphore that costs next to nothing while nobody has to wait."""

import asyncio
from collections import deque


class Turns:
    """Whoever has taken a turn must give it back. Those who wait get theirs in the order in which they came."""

    def __init__(self, count: int) -> None:
        self.running = 0
        self._count = count
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return sum(not each.done() for each in self._queue)

    def take_now(self) -> bool:
        """Takes a turn if there is one without waiting."""
        if self.running >= self._count:
            return False
        self.running += 1
        return True

    def take_up_to(self, count: int) -> int:
        """Takes as many turns as there are without waiting, and says how many."""
        taken = max(0, min(count, self._count - self.running))
        self.running += taken
        return taken

    async def take(self) -> None:
        if self.take_now():
            return
        mine = asyncio.get_running_loop().create_future()
        self._queue.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():  # it came together with the cancellation
                self.give_back()
            raise

    def give_back(self, count: int = 1) -> None:
        """Hands turns over to the next who wait: nobody can come in between."""
        while count and self._queue:
            following = self._queue.popleft()
            if not following.done():
                following.set_result(None)
                count -= 1
        self.running -= count
