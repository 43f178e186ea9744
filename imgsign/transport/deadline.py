"""Time: one deadline for all that a command asks, and retries that never reach beyond it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from imgsign.errors import Unavailable
from imgsign.transport import retry
from imgsign.transport.retry import Transient

T = TypeVar("T")


class Timed:
    """Somebody who does work until ``deadline``, a time of ``clock`` (``None``: without end).

    ``patient``: a registry that is too busy (429) is waited for until then, however often it says so.
    """

    def __init__(
        self,
        *,
        deadline: float | None,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        patient: bool = False,
    ) -> None:
        self.clock = clock
        self._patient = patient
        self._sleep = sleep
        self._deadline = deadline

    def left(self, doing: str = "") -> float:
        """Return the seconds until the deadline, infinity without one; ``doing`` is said if it has passed.

        Raises:
            Unavailable: if it has passed.
        """
        left = self._remaining()
        if left <= 0:
            raise Unavailable("the deadline has passed" + (f" while {doing}" if doing else ""))
        return left

    def _remaining(self) -> float:
        return float("inf") if self._deadline is None else self._deadline - self.clock()

    def pause(self, seconds: float) -> None:
        """Sleep.

        Raises:
            Unavailable: at once, if that would reach the deadline.
        """
        if seconds >= self.left():
            raise Unavailable("the deadline is too near to try again")
        self._sleep(seconds)

    def retry(self, work: Callable[[], T], *, tries: int = retry.TRIES) -> T:
        """Do ``work`` until it ends in anything but a ``Transient``, with growing pauses.

        Raises:
            Unavailable: saying how often it was tried. With one try, the ``Transient`` itself.
        """
        spent = count = 0
        while True:
            try:
                return work()
            except Transient as e:
                count += 1
                spent += 0 if self._patient and e.status == 429 else e.cost
                if tries == 1:
                    raise
                wait = None if spent >= tries else retry.delay(e, count, patient=self._patient)
                if wait is None or wait >= self._remaining():
                    times = "once" if count == 1 else f"{count} times"
                    until = "" if wait is None else " until the deadline"
                    raise Unavailable(
                        f"{e.message}, tried {times}{until}", status=e.status, codes=e.codes, url=e.url, hint=e.hint
                    ) from None
            self._sleep(wait)
