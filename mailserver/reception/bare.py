"""The sessions of :class:`~mailserver.reception.esmtpfactory.ESMTPFactory`, with an application behind them.

Greeting, TLS and login are answered here, every transaction by the application's deliveries
(:mod:`mailserver.reception.foreign`). There is no policy, no spool, no limit but those of the protocol core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from mailserver.reception import refusals
from mailserver.reception.asking import is_awaitable
from mailserver.reception.foreign import Foreign
from mailserver.reception.login import Login, NoAvatar, Refused
from mailserver.reception.view import SessionView
from mailserver.smtp import events, replies
from mailserver.smtp.reply import Reply

_LEVELS = {"hook.failed": LogLevel.error, "message.partly-stored": LogLevel.warn}


class BareSession:
    """Answers :meth:`handle` for one connection; `ended` is called once, at its end."""

    def __init__(self, login: Login, view: SessionView, ended: Callable[[], None]) -> None:
        self._login = login
        self._view = view
        self._ended = ended
        self._helo = ""
        self._foreign = Foreign(login, view)
        self._ask: dict[type, Callable[[Any], Any]] = {
            events.Opened: self._opened,
            events.Hello: self._hello,
            events.StartTls: self._start_tls,
            events.FindKeys: self._find_keys,
            events.Authenticate: self._authenticate,
            events.MailFrom: self._mail,
        }

    def handle(self, event: Any) -> Any:
        """The reply to a question, or an awaitable of it; None for what is none."""
        answer = self._ask.get(type(event), self._foreign.handle)
        return answer(event)

    def check(self, now: float) -> None:
        """Give up on what the application has not answered in time; `now` is monotonic."""
        self._login.asking.check(now)

    def lost(self, reason: str) -> None:
        """The connection is gone: first the sinks hear of it, then the avatar is logged out."""
        self._foreign.lost()
        self._login.forget()
        self._ended()

    def _opened(self, _event: events.Opened) -> Reply:
        return replies.greeting(self._host)

    def _hello(self, event: events.Hello) -> Reply:
        self._helo = event.name
        return replies.OK

    @property
    def _host(self) -> str:
        return self._view.host.decode("ascii", "replace")

    def _start_tls(self, _event: events.StartTls) -> Reply:
        # RFC 3207 §4.2: all knowledge is forgotten, the avatar too.
        self._login.forget()
        self._helo, self._view.startedTLS = "", True
        return refusals.READY_FOR_TLS

    def _find_keys(self, event: events.FindKeys) -> Any:
        return self._login.find_keys(event.username)

    async def _authenticate(self, event: events.Authenticate) -> Reply:
        try:
            await self._login.with_credentials(event.credentials)
        except NoAvatar:
            return refusals.LOGIN_LATER
        except Refused:
            return refusals.BAD_LOGIN
        except Exception as error:
            self._login_failed(error)
            return refusals.LOGIN_LATER
        return refusals.LOGGED_IN

    def _mail(self, event: events.MailFrom) -> Any:
        return self._foreign.mail(event, self._helo) if self._login.made else self._mail_of_stranger(event)

    async def _mail_of_stranger(self, event: events.MailFrom) -> Reply:
        try:
            await self._login.anonymously()
        except NoAvatar:
            return refusals.INTERNAL
        except Refused:
            return refusals.SENDER_REFUSED
        except Exception as error:
            self._login_failed(error)
            return refusals.INTERNAL
        answer: Any = self._foreign.mail(event, self._helo)
        said: Reply = await answer if is_awaitable(answer) else answer
        return said

    def _login_failed(self, error: Exception) -> None:
        self._login.asking.log.failure("a credentials checker or realm failed", error, culprit=self._login.asked)


class TwistedLog:
    """Events by way of ``twisted.logger``, whose observers belong to the application."""

    def __init__(self) -> None:
        self._logger = Logger(namespace="mailserver.reception.ESMTPFactory")

    def event(self, name: str, /, **fields: object) -> None:
        """One event; its fields are fields of the log event too."""
        level = _LEVELS.get(name, LogLevel.info)
        self._logger.emit(level, "{event}: {detail}", event=name, detail=_detail(fields), **fields)

    def failure(self, what: str, error: BaseException | Failure, /, **fields: Any) -> None:
        """A failure, with its traceback."""
        failure = error if isinstance(error, Failure) else Failure(error)
        self._logger.failure("{what}: {detail}", failure, what=what, detail=_detail(fields), **fields)


def _detail(fields: dict[str, object]) -> str:
    return " ".join(f"{key}={value}" for key, value in fields.items())
