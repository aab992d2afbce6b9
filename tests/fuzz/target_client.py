"""Arbitrary octets from a server against the client core.

Nothing raises; the session ends exactly once; each transaction is answered exactly once, with one answer for
each recipient; and no command line has anything but its own end of line in it.
"""

from __future__ import annotations

import random

from mailserver.smtp import plan
from mailserver.smtp.address import Mailbox
from mailserver.smtp.client import ClientCore
from mailserver.smtp.clientstates import State
from mailserver.smtp.transaction import ForwardPath, Transaction

_LOGIN = plan.Login("anna", "secret", unprotected=True, optional=True)
PLANS = (
    plan.SessionPlan("out.example.test", tls="off"),
    plan.SessionPlan("out.example.test"),
    plan.SessionPlan("out.example.test", tls="verified"),
    plan.SessionPlan("out.example.test", tls="off", login=_LOGIN),
)
_PATHS = tuple(
    ForwardPath(Mailbox.parse(f"{name}@far.example.test"), frozenset({"FAILURE"}), f"rfc822;{name}@x.example")
    for name in ("one", "two", "three")
)
TRANSACTION = Transaction(Mailbox.parse("anna@example.test"), _PATHS, size=30, ret="HDRS", envid="a+b")
CONTENT = (b"Subject: x\n\n.\n", b"..\n", b"last")


def run(data: bytes) -> None:
    """One input: which plan, how the octets are cut, and what the server sends."""
    if len(data) < 2:
        return
    chance, stream = random.Random(data[1]), data[2:]
    session = _Session(ClientCore(PLANS[data[0] % len(PLANS)]))
    while stream and not session.ended:
        length = chance.choice((1, 3, 40, len(stream)))
        session.receive(stream[:length])
        stream = stream[length:]
    session.finish()


class _Session:
    def __init__(self, core: ClientCore) -> None:
        self.core = core
        self.started = self.answered = self.ended = 0

    def receive(self, data: bytes) -> None:
        self.core.receive(data)
        self._turn()

    def finish(self) -> None:
        if self.core.state is not State.CLOSED:
            self.core.connection_lost("gone")
        self._turn()
        assert self.ended == 1, f"ended {self.ended} times"
        assert self.answered == self.started, "a transaction without its answer"

    def _turn(self) -> None:
        self.core.data_to_send()
        while (event := self.core.next_event()) is not None:
            self._take(event)
        self.core.data_to_send()

    def _take(self, event: plan.Event) -> None:
        core = self.core
        if isinstance(event, plan.Ended):
            self.ended += 1
        elif isinstance(event, plan.Answered):
            self.answered += 1
            assert len(event.answers) == len(TRANSACTION.recipients)
            assert all(event.answers)
            self._next()
        elif isinstance(event, plan.Ready):
            self._next()
        elif isinstance(event, plan.StartTls):
            if core.state is State.TLS:
                core.tls_established(True)
        elif isinstance(event, plan.SendContent):
            for piece in CONTENT:
                if core.state is State.CONTENT:
                    core.content(piece)
            if core.state is State.CONTENT:
                core.content_end()

    def _next(self) -> None:
        if self.core.state is not State.READY:
            return
        if self.started < 3:
            self.started += 1
            self.core.start(TRANSACTION)
        else:
            self.core.quit()
