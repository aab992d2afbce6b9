"""A script laid over one of our own listeners: chosen errors from the production server.

A refusal of the script is said in the place of the server's own answer, which never learns of the question. A
positive step means: the server's own answer.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from mailserver.smtp import events
from mailserver.smtp.reply import Reply
from mailserver.smtp.status import Status
from mailserver.testing.script import Act, Script, Step

_COMMANDS = {
    events.Opened: "GREETING",
    events.StartTls: "STARTTLS",
    events.Authenticate: "AUTH",
    events.MailFrom: "MAIL",
    events.RcptTo: "RCPT",
    events.ContentBegins: "DATA",
    events.ContentEnds: ".",
}


class Overlay:
    """Takes the place of the handler of `protocol` (a `mailserver.net.server.ServerProtocol`)."""

    def __init__(self, protocol: Any, script: Script) -> None:
        self._protocol = protocol
        self._handler = protocol.handler
        self._script = script

    def handle(self, event: Any) -> Any:
        """The script's answer, or the server's own."""
        step = self._script.next(_command(event))
        if step is None or (isinstance(step, str) and step[0] in "23"):
            return self._handler.handle(event)
        if isinstance(event, events.ContentEnds):
            self._handler.handle(events.ContentDropped(Reply(451)))
        return self._instead(step)

    def _instead(self, step: Step) -> Any:
        if isinstance(step, str):
            return reply_of(step)
        if step is Act.RESET:
            self._protocol.abort()
        elif step is Act.CLOSE:
            self._protocol.transport.unregisterProducer()
            self._protocol.transport.loseConnection()
        return Deferred()  # nothing is ever said

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        self._handler.lost(reason)


def _command(event: Any) -> str:
    if isinstance(event, events.Hello):
        return "EHLO" if event.extended else "HELO"
    return _COMMANDS.get(type(event), "")


def reply_of(text: str) -> Reply:
    """``450 4.2.1 later`` as a value."""
    code, words = int(text[:3]), text[4:].split("\n")
    status = Status.parse(words[0].partition(" ")[0])
    if status is not None:
        words[0] = words[0].partition(" ")[2]
    return Reply(code, status, tuple(words))
