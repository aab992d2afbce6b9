"""Delivery to a function of the application: ``FunctionTransport(on_mail)``.

The function is called once per recipient, after the message is durable in the spool, with a :class:`Mail`; it
may be ``async``. Returning means delivered. Raising :class:`TransientFailure` means that it is called again on
the retry schedule, :class:`PermanentFailure` that the sender gets a report; anything else it raises is a bug,
logged with its traceback, and transient. After a crash it may be called again for the same mail: `queue_id`
and recipient together are stable, and the application uses them to recognise it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from mailserver.interfaces import ITransport, MailServerError
from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Recipient
from mailserver.message.outcome import Outcome, delivered, permanent, surprise, transient
from mailserver.message.route import Attempt
from mailserver.smtp.address import Mailbox
from mailserver.smtp.status import Status

_log = Logger()


@dataclass(frozen=True, slots=True)
class Mail:
    """One message for one recipient. ``content`` has the trace header fields in front of the octets."""

    queue_id: str
    envelope: Envelope
    recipient: Mailbox
    content: Content


class TransientFailure(MailServerError):
    """Not now: the mail is tried again. `text` is for people; `status` of class 4 (RFC 3463)."""

    def __init__(self, text: str, status: Status = Status(4, 3, 0)) -> None:
        super().__init__(text)
        self.outcome = transient(text, status)


class PermanentFailure(MailServerError):
    """Never: the sender gets a report with `text`; `status` of class 5 (RFC 3463)."""

    def __init__(self, text: str, status: Status = Status(5, 3, 0)) -> None:
        super().__init__(text)
        self.outcome = permanent(text, status)


@implementer(ITransport)
class FunctionTransport:
    """Hands mail to `function`, one recipient after the other."""

    def __init__(self, function: Callable[[Mail], Any]) -> None:
        self._function = function

    async def deliver(self, attempt: Attempt) -> Mapping[Recipient, Outcome]:
        """One outcome per recipient; never raises."""
        return {recipient: await self._call(attempt, recipient) for recipient in attempt.recipients}

    async def _call(self, attempt: Attempt, recipient: Recipient) -> Outcome:
        mail = Mail(attempt.queue_id, attempt.envelope, recipient.mailbox, attempt.content)
        try:
            answer = self._function(mail)
            if isinstance(answer, Awaitable):
                await answer
        except (TransientFailure, PermanentFailure) as refusal:
            return refusal.outcome
        except GeneratorExit:
            raise
        except BaseException as error:
            _log.failure("delivery function failed for {queue_id}", queue_id=attempt.queue_id)
            return surprise(f"{type(error).__name__} in the delivery function")
        return delivered()
