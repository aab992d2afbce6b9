"""Delivering agents: into Maildirs, to other hosts, to a function of the application; and the sending API.

The public names come lazily.
"""

from __future__ import annotations

from importlib import import_module

# What the names are, for type checkers; `typing` itself would be an import. (tests/test_lazy_roots.py)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailserver.transport.client import Client as Client
    from mailserver.transport.client import Sent as Sent
    from mailserver.transport.clientoptions import ClientOptions as ClientOptions
    from mailserver.transport.dropin import sendmail as sendmail
    from mailserver.transport.failures import ConnectFailed as ConnectFailed
    from mailserver.transport.failures import HostNotFound as HostNotFound
    from mailserver.transport.failures import LoginFailed as LoginFailed
    from mailserver.transport.failures import SendFailed as SendFailed
    from mailserver.transport.failures import SendRefused as SendRefused
    from mailserver.transport.failures import SessionLost as SessionLost
    from mailserver.transport.failures import TlsFailed as TlsFailed
    from mailserver.transport.function import FunctionTransport as FunctionTransport
    from mailserver.transport.function import Mail as Mail
    from mailserver.transport.function import PermanentFailure as PermanentFailure
    from mailserver.transport.function import TransientFailure as TransientFailure
    from mailserver.transport.maildir import MaildirTransport as MaildirTransport
    from mailserver.transport.smtp import SmtpTransport as SmtpTransport

_HOME = {
    "Client": "client",
    "ClientOptions": "clientoptions",
    "ConnectFailed": "failures",
    "FunctionTransport": "function",
    "HostNotFound": "failures",
    "LoginFailed": "failures",
    "Mail": "function",
    "MaildirTransport": "maildir",
    "PermanentFailure": "function",
    "SendFailed": "failures",
    "SendRefused": "failures",
    "Sent": "client",
    "SessionLost": "failures",
    "SmtpTransport": "smtp",
    "TlsFailed": "failures",
    "TransientFailure": "function",
    "sendmail": "dropin",
}
__all__ = sorted(_HOME)  # noqa: PLE0605

# A name that is not among them is an error for type checkers too.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
