"""What `make run` prints before the server starts: where it listens, where things are, what to do next.

``python -m mailserver.admin.welcome --instance DIR`` reads the settings file and the account store of a stopped
instance. It changes nothing. What is wrong with the instance is printed as the server would print it, exit 1.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mailserver.accounts.store import AccountStore
from mailserver.admin.typed import program, quoted, shown
from mailserver.clock import SystemClock
from mailserver.interfaces import MailServerError
from mailserver.preflight import problems_of
from mailserver.settings.forms import HostPort
from mailserver.settings.listener import Listener
from mailserver.settings.model import Settings
from mailserver.settings.read import decode, read
from mailserver.smtp.address import Mailbox
from mailserver.spool.lock import SpoolLock
from mailserver.threads import inline
from mailserver.transport.maildir_path import Template

# What a client names to reach a listener on every address.
_HERE = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
_WHO = {"mx": "from other servers", "submission": "from your users", "lmtp": "by LMTP"}
_TLS = {"none": "no TLS", "starttls": "STARTTLS", "implicit": "TLS from the first octet"}


def welcome(settings: Settings, accounts: Sequence[Mailbox], tool: str = "mailserverctl") -> str:
    """The facts in lines for a terminal; `tool` is how the command line tool is called here."""
    lines = ["", *_table("Mail comes in", _listeners(settings)), ""]
    lines += [*_table("Here", _places(settings, accounts, tool)), ""]
    lines += [*_outgoing(settings), ""]
    lines += [*_sending(settings, accounts)]
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
        yield "its Maildir", shown(Template(settings.accounts.maildir, settings.instance).path(account))
        yield "a new password", f"{tool} account passwd {account}"
    yield "the settings", shown(settings.path("mailserver.toml"))
    yield "the log", shown(settings.path(settings.log.path)) if settings.log.path else "this terminal"
    for certificate in settings.certificates:
        yield "the certificate", shown(settings.path(certificate.chain))
    yield "the tool", tool


def _sending(settings: Settings, accounts: Sequence[Mailbox]) -> Iterator[str]:
    """Whole commands for the first account and a listener of users."""
    listener = next((one for one in settings.listeners if one.enabled and one.role == "submission"), None)
    if listener is None or not accounts:
        return
    bound = listener.addresses[0]
    place = HostPort(_HERE.get(bound.host, bound.host), bound.port)
    who = shlex.quote(str(accounts[0]))
    chain = quoted(settings.path(settings.certificate(listener.certificate).chain))
    implicit = listener.tls == "implicit"
    letter = "printf 'Subject: Test\\n\\nHello.\\n' |"
    yield "Send as the first account, with a client that trusts the certificate (each asks for the password):"
    yield (
        f"    swaks --server {place} --tls{'-on-connect' if implicit else ''} --tls-verify --tls-ca-path {chain}"
        f" --auth PLAIN --auth-user {who} --from {who} --to {who}"
    )
    yield (
        f"    {letter} curl --crlf --cacert {chain} --ssl-reqd --url smtp{'s' if implicit else ''}://{place}"
        f" --user {who} --mail-from {who} --mail-rcpt {who} --upload-file -"
    )
    yield (
        f"    {letter} msmtp --host={place.host} --port={place.port} --tls=on"
        f" --tls-starttls={'off' if implicit else 'on'} --tls-trust-file={chain} --auth=on --user={who}"
        f" --from={who} {who}"
    )
    yield ""


def _outgoing(settings: Settings) -> Iterator[str]:
    file = shown(settings.path("mailserver.toml"))
    if settings.relay.outgoing == "on":
        yield f'Mail to other hosts goes out; [relay] outgoing = "hold" in {file} keeps it here.'
        return
    yield "Mail to other hosts is held: none leaves this machine before you say so, and start again."
    yield f'To let everything out, change the line outgoing = "hold" in [relay] of {file} to'
    yield '    outgoing = "on"'
    yield "For one domain that is not yours, add a static route there, which is never held:"
    yield '    [routes."partner.example"]'
    yield '    host = "127.0.0.1:2600"'


def _tool(instance: Path) -> str:
    tool = program("mailserverctl")
    return tool if instance.absolute() == Path.cwd() / "instance" else f"{tool} --instance {quoted(instance)}"


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
        if problems := problems_of(settings):
            raise SystemExit("\n".join(problems))
        accounts = _accounts(instance)
    except (MailServerError, OSError) as error:
        raise SystemExit(str(error)) from None
    sys.stdout.write(welcome(settings, accounts, _tool(instance)))


if __name__ == "__main__":
    main()
