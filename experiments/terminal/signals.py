"""Ctrl-C and SIGTERM end long work, also where what the first one raised got lost."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(BaseException):
    """SIGTERM arrived."""


_RAISED: dict[int, type[BaseException]] = {signal.SIGTERM: Terminated, signal.SIGINT: KeyboardInterrupt}
_arrived: list[int] = []


def _on_signal(signum: int, frame: FrameType | None) -> None:
    _arrived.append(signum)
    raise _RAISED[signum]


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise `Terminated` or KeyboardInterrupt when such a signal comes; what was ignored before stays so."""
    before = {signum: signal.getsignal(signum) for signum in _RAISED}
    caught = [signum for signum, handler in before.items() if handler != signal.SIG_IGN]
    for signum in caught:
        signal.signal(signum, _on_signal)
    try:
        yield
    finally:
        for signum in caught:
            signal.signal(signum, before[signum])
        _arrived.clear()


def raise_if_stopped() -> None:
    """Raise once more for a signal that has come: Python drops what a finalizer or a callback of C code raises."""
    if _arrived:
        raise _RAISED[_arrived[-1]]
