"""What a host of the kit, or one of its listeners, says in the place of its own answer.

A script has steps for each command; each time the command comes, the next step is taken. A step is a reply
(``"450 4.2.1 later"``), raw octets (``b"nonsense\\r\\n"``), or one of :class:`Act`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from enum import Enum

COMMANDS = (
    "GREETING", "EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", ".", "RSET", "NOOP", "VRFY", "QUIT",
)  # fmt: skip
"""What can be answered; ``GREETING`` is the connection itself, ``.`` the end of a content."""
_REPLY = re.compile(r"[2-5]\d\d([ -].*)?")


class Act(Enum):
    """Something else than words: the connection is reset, or closed in good order, or nothing is said at all."""

    RESET = "reset"
    CLOSE = "close"
    SILENCE = "silence"


Step = str | bytes | Act


class Script:
    """Steps by command."""

    def __init__(self) -> None:
        self._steps: dict[str, deque[Step]] = {}
        self._last: dict[str, Step] = {}

    def answers(self, command: str, steps: Iterable[Step]) -> None:
        """Take `steps` one after the other; the last one stays. Raises ValueError for what is no reply, and for
        an unknown command."""
        steps = list(steps)
        for step in steps:
            if isinstance(step, str) and not _REPLY.fullmatch(step.partition("\n")[0]):
                raise ValueError(
                    f"{step!r} is no reply: it begins with a code from 200 to 599; octets say anything"
                )
        self._set(command, steps)
        if steps:
            self._last[_known(command)] = steps[-1]

    def does(self, command: str, act: Act, times: int | None) -> None:
        """Do `act` so many times, or (None) from now on."""
        self._set(command, [act] * (times or 0))
        if times is None:
            self._last[_known(command)] = act

    def _set(self, command: str, steps: list[Step]) -> None:
        self._steps[_known(command)] = deque(steps)
        self._last.pop(command.upper(), None)

    def next(self, command: str) -> Step | None:
        """The step for this time, or None: its own answer."""
        steps = self._steps.get(command)
        return steps.popleft() if steps else self._last.get(command)


def _known(command: str) -> str:
    if command.upper() not in COMMANDS:
        raise ValueError(f"{command!r} is no command; there are {', '.join(COMMANDS)}")
    return command.upper()


def wire_of(step: str | bytes) -> bytes:
    """A reply as it is sent; lines after the first repeat its code where they have none of their own."""
    if isinstance(step, bytes):
        return step
    lines = step.split("\n")
    code = lines[0][:3]
    texts = [line[4:] if _REPLY.fullmatch(line) else line for line in lines]
    last = len(texts) - 1
    return b"".join(
        f"{code}{' ' if number == last else '-'}{text}\r\n".encode() for number, text in enumerate(texts)
    )
