"""A mail server framework on Twisted. Importing this package imports nothing else."""

from __future__ import annotations

from importlib import import_module

# What the names are, for type checkers; `typing` itself would be an import. (tests/test_lazy_roots.py)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailserver.accounts.database import AccountError as AccountError
    from mailserver.admin.command import ControlError as ControlError
    from mailserver.interfaces import MailServerError as MailServerError
    from mailserver.interfaces import PoolFull as PoolFull
    from mailserver.interfaces import SpoolFailed as SpoolFailed
    from mailserver.interfaces import SpoolFull as SpoolFull
    from mailserver.net.certificates import CertificateProblem as CertificateProblem
    from mailserver.net.listener import BindProblem as BindProblem
    from mailserver.net.resolver import LookupTransient as LookupTransient
    from mailserver.net.resolver import NameNotFound as NameNotFound
    from mailserver.queue.outbox import NotSettled as NotSettled
    from mailserver.queue.outbox import TooLarge as TooLarge
    from mailserver.queue.outbox import UnknownMessage as UnknownMessage
    from mailserver.reception.esmtpfactory import OverriddenProtocol as OverriddenProtocol
    from mailserver.settings.plugin import BrokenPlugin as BrokenPlugin
    from mailserver.settings.problem import SettingsError as SettingsError
    from mailserver.smtp.plan import Login as Login
    from mailserver.spool.lock import SpoolBusy as SpoolBusy
    from mailserver.spool.schema import SchemaTooNew as SchemaTooNew
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
    from mailserver.transport.function import PermanentFailure as PermanentFailure
    from mailserver.transport.function import TransientFailure as TransientFailure
    from mailserver.transport.login import LoginProblem as LoginProblem

_HOME = {
    "AccountError": "accounts.database",
    "BindProblem": "net.listener",
    "BrokenPlugin": "settings.plugin",
    "CertificateProblem": "net.certificates",
    "Client": "transport.client",
    "ClientOptions": "transport.clientoptions",
    "ConnectFailed": "transport.failures",
    "ControlError": "admin.command",
    "HostNotFound": "transport.failures",
    "Login": "smtp.plan",
    "LoginFailed": "transport.failures",
    "LoginProblem": "transport.login",
    "LookupTransient": "net.resolver",
    "MailServerError": "interfaces",
    "NameNotFound": "net.resolver",
    "NotSettled": "queue.outbox",
    "OverriddenProtocol": "reception.esmtpfactory",
    "PermanentFailure": "transport.function",
    "PoolFull": "interfaces",
    "SchemaTooNew": "spool.schema",
    "SendFailed": "transport.failures",
    "SendRefused": "transport.failures",
    "Sent": "transport.client",
    "SessionLost": "transport.failures",
    "SettingsError": "settings.problem",
    "SpoolBusy": "spool.lock",
    "SpoolFailed": "interfaces",
    "SpoolFull": "interfaces",
    "TlsFailed": "transport.failures",
    "TooLarge": "queue.outbox",
    "TransientFailure": "transport.function",
    "UnknownMessage": "queue.outbox",
    "sendmail": "transport.dropin",
}
__all__ = sorted(_HOME)  # noqa: PLE0605

# A name that is not among them is an error for type checkers too.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
