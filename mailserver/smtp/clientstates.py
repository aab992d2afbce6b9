"""The states of a session on the client's side, and where it may go from each.

:data:`NEXT` is the whole table. A step that is not in it, and a call that the state does not allow, is a bug of
the caller: :class:`WrongState`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class State(Enum):
    """Where a session stands."""

    GREETING = "waiting for the greeting"
    HELLO = "waiting for the reply to EHLO, HELO or LHLO"
    TLS_ASKED = "waiting for the reply to STARTTLS"
    TLS = "handshake"
    AUTH = "logging in"
    READY = "idle: a transaction or QUIT may begin"
    ENVELOPE = "MAIL, RCPT and DATA are on their way, or the whole message"
    CONTENT = "the caller is giving content"
    FINAL = "waiting for the replies to the content"
    QUITTING = "waiting for the reply to QUIT"
    CLOSED = "over"


# CLOSED may follow on all of them.
NEXT: Mapping[State, tuple[State, ...]] = MappingProxyType(
    {
        State.GREETING: (State.HELLO, State.TLS),
        State.HELLO: (State.HELLO, State.TLS_ASKED, State.AUTH, State.READY),
        State.TLS_ASKED: (State.TLS, State.AUTH, State.READY),
        State.TLS: (State.HELLO, State.GREETING),
        State.AUTH: (State.READY,),
        State.READY: (State.ENVELOPE, State.QUITTING),
        State.ENVELOPE: (State.CONTENT, State.FINAL, State.READY),
        State.CONTENT: (State.FINAL,),
        State.FINAL: (State.READY,),
        State.QUITTING: (),
        State.CLOSED: (),
    }
)


class WrongState(RuntimeError):
    """A call that the state of the session does not allow."""
