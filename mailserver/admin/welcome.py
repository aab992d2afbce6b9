"""What `make run` prints before the server starts: where it listens, where things are, what to do next.

``python -m mailserver.admin.welcome --instance DIR`` reads the settings file and the account store of a stopped
instance. It changes nothing. What is wrong with the instance is printed as the server would print it, exit 1.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mailserver.accounts.store import AccountStore
from mailserver.clock import SystemClock
from mailserver.interfaces import MailServerError
from mailserver.settings.model import Listener, Settings
from mailserver.settings.read import decode, read
from mailserver.smtp.address import Mailbox
from mailserver.spool.lock import SpoolLock
from mailserver.threads import inline
from mailserver.transport.maildir_path import Template

_WHO = {"mx": "from other servers", "submission": "from your users"}
_TLS = {"none": "no TLS", "starttls": "STARTTLS", "implicit": "TLS from the first octet"}


def welcome(settings: Settings, accounts: Sequence[Mailbox], tool: str = "mailserverctl") -> str:
    """The facts in lines for a terminal; `tool` is how the command line tool is called here."""
    lines = ["", *_table("Mail comes in", _listeners(settings)), ""]
    lines += [*_table("Here", _places(settings, accounts, tool)), ""]
    lines += [*_outgoing(settings), ""]
    lines += ["Next, from another shell:", f"    {tool} send-test", ""]
    return "\n".join(lines)


def _table(title: str, rows: Iterator[tuple[str, str]]) -> list[str]:
    return [f"{title}:", *(f"    {left:<24}{right}" for left, right in rows)]


def _listeners(settings: Settings) -> Iterator[tuple[str, str]]:
    for listener in settings.listeners:
        if listener.enabled:
            yield ", ".join(listener.listen), _manner(listener)


def _manner(listener: Listener) -> str:
    login = ", with login" if listener.role == "submission" else ""
    return f"{_WHO.get(listener.role, listener.role)}, {_TLS[listener.tls]}{login}"


def _places(settings: Settings, accounts: Sequence[Mailbox], tool: str) -> Iterator[tuple[str, str]]:
    for domain in dict.fromkeys(account.domain for account in accounts):
        yield "domain", str(domain)
    for account in accounts[:1]:
        yield "first account", str(account)
        yield "its Maildir", _shown(Template(settings.accounts.maildir, settings.instance).path(account))
        yield "a new password", f"{tool} account passwd {account}"
    yield "the settings", _shown(settings.path("mailserver.toml"))
    yield "the log", _shown(settings.path(settings.log.path)) if settings.log.path else "this terminal"
    for certificate in settings.certificates:
        chain = _shown(settings.path(certificate.chain))
        yield "the certificate", chain
        yield "clients trust it with", f"swaks --tls-ca-path {chain}"
        yield "", f"curl --cacert {chain}"
        yield "", f"msmtp --tls-trust-file={chain}"
    yield "the tool", tool


def _outgoing(settings: Settings) -> Iterator[str]:
    file = _shown(settings.path("mailserver.toml"))
    if settings.relay.outgoing == "on":
        yield f'Mail to other hosts goes out; [relay] outgoing = "hold" in {file} keeps it here.'
        return
    yield f"Mail to other hosts is held: none leaves this machine before you say so in {file}, and start again:"
    yield "    [relay]                       # everything goes out"
    yield '    outgoing = "on"'
    yield "or, for one domain, a static route, which is never held:"
    yield '    [routes."example.org"]'
    yield '    host = "127.0.0.1:2600"'


def _shown(path: Path) -> str:
    """Short where it lies below the current directory, as whoever typed `make run` sees it."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def _tool(instance: Path) -> str:
    program = _shown(Path(sys.executable).with_name("mailserverctl"))
    return (
        program if instance.absolute() == Path.cwd() / "instance" else f"{program} --instance {_shown(instance)}"
    )


def _accounts(instance: Path) -> list[Mailbox]:
    # Under the lock, because opening the store opens a writer, and there is never a second one.
    clock = SystemClock()
    lock = SpoolLock(instance / "spool")
    lock.acquire(clock.wall())
    threads: Any = inline
    store = AccountStore(instance / "accounts.db", threads, clock)
    try:
        store.open()
        return [account.mailbox for account in store.accounts()]
    finally:
        store.close()
        lock.release()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="welcome", description="Say where the server of an instance is found.")
    default = os.environ.get("MAILSERVER_INSTANCE", "instance")
    parser.add_argument("--instance", type=Path, default=Path(default), help="its directory (./instance)")
    instance = parser.parse_args(arguments).instance
    file = instance / "mailserver.toml"
    try:
        settings = read(decode(file.read_bytes(), str(file)), str(file), instance)
        accounts = _accounts(instance)
    except (MailServerError, OSError) as error:
        raise SystemExit(str(error)) from None
    sys.stdout.write(welcome(settings, accounts, _tool(instance)))


if __name__ == "__main__":
    main()
