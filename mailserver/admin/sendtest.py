"""The test message: the shortest proof that mail comes in and is delivered.

It is sent by SMTP to the listener that the world sends to, and then looked for where the recipient's mail is
put. The null reverse-path is its sender, so that a test that fails bothers nobody.
"""

from __future__ import annotations

import re
import smtplib
from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater

from mailserver.accounts.directory import AccountDirectory
from mailserver.admin.command import ControlError
from mailserver.admin.queuecommands import why
from mailserver.admin.world import World
from mailserver.message.resolution import Found
from mailserver.message.state import State
from mailserver.settings.forms import HostPort
from mailserver.smtp.address import Mailbox
from mailserver.spool.contract import Query
from mailserver.transport.maildir_path import Template

# How often we look whether the message is delivered, and how long SMTP may take, in seconds.
_PAUSE = 0.1
_SMTP_TIMEOUT = 10.0
_QUEUE_ID = re.compile(r"\b[0-9a-hjkmnp-tv-z]{23}\b")
_EVERYWHERE = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


async def send_test(world: World, to: str | None, timeout: float) -> AsyncIterator[dict[str, Any]]:
    """Send, wait, say where it is: a record for each of the three."""
    if not timeout > 0:
        raise ControlError("timeout is a number of seconds over 0")
    listener = _mx(world)
    recipient = _recipient(world, to)
    yield {"said": f"sending to {recipient} through {listener}"}
    reply = await world.threads("plugin", _send, listener, str(recipient), _message(world, str(recipient)))
    found = _QUEUE_ID.search(reply)
    yield {"reply": reply, "queue id": found[0] if found else "", "said": f"the server took it: {reply}"}
    if found:
        yield await _delivered(world, found[0], recipient, timeout)


def _mx(world: World) -> HostPort:
    """Where the server takes mail from strangers, as this machine can reach it."""
    for listener in world.running()["listeners"]:
        if listener["role"] == "mx" and listener["listening"]:
            bound = HostPort.parse(str(listener["listening"][0]))
            return HostPort(_EVERYWHERE.get(bound.host, bound.host), bound.port)
    raise ControlError("no listener of the role mx is open; `status` shows the listeners")


def _recipient(world: World, to: str | None) -> Mailbox:
    if to is None:
        accounts = world.store().accounts()
        if not accounts:
            raise ControlError("there is no account yet; make one (account add NAME@DOMAIN)")
        return accounts[0].mailbox
    try:
        return Mailbox.parse(to)
    except ValueError as error:
        raise ControlError(f"{to!r} is not a mail address ({error}); write it as name@domain") from None


def _message(world: World, recipient: str) -> bytes:
    message = EmailMessage()
    message["From"] = f"postmaster@{world.settings.host_name}"
    message["To"] = recipient
    message["Date"] = formatdate(world.clock.wall())
    message["Message-ID"] = make_msgid(domain=world.settings.host_name)
    message["Subject"] = "Test message"
    message.set_content("Mail that comes in is delivered: you are reading the proof.\n")
    return message.as_bytes(policy=SMTP)


def _send(listener: HostPort, recipient: str, content: bytes) -> str:
    """Blocking. The server's reply to the content."""
    try:
        with smtplib.SMTP(listener.host, listener.port, timeout=_SMTP_TIMEOUT) as session:
            session.ehlo_or_helo_if_needed()
            _accepted("the sender", session.mail(""))
            _accepted(recipient, session.rcpt(recipient))
            return _accepted("the message", session.data(content))
    except (OSError, smtplib.SMTPException) as error:
        raise ControlError(f"the SMTP session with {listener} failed: {error}") from None


def _accepted(what: str, answer: tuple[int, bytes]) -> str:
    code, words = answer
    text = f"{code} {' '.join(words.decode('utf-8', 'replace').split())}"
    if code >= 400:
        raise ControlError(f"the server refused {what}: {text}")
    return text


async def _delivered(world: World, queue_id: str, recipient: Mailbox, timeout: float) -> dict[str, Any]:
    """Wait until nothing more will happen to the message for now, and say what did."""
    deadline = world.clock.monotonic() + timeout
    while messages := world.reader.find(Query(queue_id, limit=1)).messages:
        waiting = [each for each in messages[0].recipients if not each.state.final]
        if waiting and all(each.state in (State.HELD, State.DEFERRED) for each in waiting):
            words = "; ".join(f"{each.recipient.mailbox}: {why(each)}" for each in waiting)
            raise ControlError(f"it is stored, but not all of it is delivered: {words}")
        if world.clock.monotonic() >= deadline:
            raise ControlError(
                f"it is stored, but not delivered after {timeout:g} seconds; `queue show {queue_id}` says why"
            )
        await deferLater(world.reactor, _PAUSE)
    return await _found(world, queue_id, _maildir(world, recipient))


async def _found(world: World, queue_id: str, maildir: Path | None) -> dict[str, Any]:
    if maildir is None:
        return {"queue id": queue_id, "said": "it has left the queue; the log says where each copy went"}
    files = await world.threads("disk", _files, maildir, queue_id)
    if not files:
        raise ControlError(
            f"it has left the queue, but is not in {maildir}; the log says what became of {queue_id}"
        )
    return {"queue id": queue_id, "file": files[0], "said": f"delivered: it is in {files[0]}"}


def _maildir(world: World, recipient: Mailbox) -> Path | None:
    """The Maildir of an account; None for an alias, whose mail goes to others."""
    resolution = AccountDirectory(world.store(), world.settings.host_name).resolve(recipient)
    if resolution.found is not Found.ACCOUNT:
        return None
    return Template(world.settings.accounts.maildir, world.settings.instance).path(resolution.mailbox)


def _files(maildir: Path, queue_id: str) -> list[str]:
    """The files of a message: its queue id is a part of their names."""
    return sorted(str(file) for part in ("new", "cur") for file in maildir.glob(f"{part}/*{queue_id}*"))
