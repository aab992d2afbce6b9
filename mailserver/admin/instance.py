"""The instance directory: made, read, checked.

:func:`create` makes a new one (0700) and never touches one that has anything in it; the settings file is
written last, so that a directory without it is no instance. :func:`load` reads the settings; :func:`problems`
names what is wrong with the files that the settings name. Each raises MailServerError with sentences.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailserver import preflight
from mailserver.accounts.names import domain_of, own_address_of
from mailserver.accounts.passwords import keep_password
from mailserver.accounts.store import AccountStore
from mailserver.admin.command import ControlError
from mailserver.admin.socketplace import user_name
from mailserver.interfaces import IClock
from mailserver.net.tls import CertificateProblem, ClientContexts, self_signed
from mailserver.settings.model import Settings
from mailserver.settings.partial import readable
from mailserver.settings.plugin import OptionTypes
from mailserver.settings.read import decode, read
from mailserver.settings.reference import first_settings
from mailserver.smtp.address import Mailbox
from mailserver.threads import inline

SETTINGS = "mailserver.toml"
ACCOUNTS = "accounts.db"
# Of new passwords, in characters.
SHORTEST = 8
_DIRECTORIES = ("certificates", "spool", "maildirs", "run", "log")


@dataclass(frozen=True)
class First:
    """What an instance begins with; ``account`` is a name or an address, ``host_name`` "" is ``mail.DOMAIN``."""

    domain: str
    account: str
    password: str
    host_name: str = ""

    @property
    def mailbox(self) -> Mailbox:
        """The first account. Raises AccountError."""
        domain = domain_of(self.domain)
        mailbox = own_address_of(self.account if "@" in self.account else f"{self.account}@{domain}")
        if mailbox.domain != domain:
            raise ControlError(f"the first account {mailbox} is not in the domain {domain}; name one that is")
        return mailbox


def check_length(password: str) -> None:
    """Refuse a new password that is guessed too soon. Raises ControlError."""
    if len(password) < SHORTEST:
        raise ControlError(f"the password has {len(password)} characters; take at least {SHORTEST}, or --generate")


def load(directory: Path, file: Path | None = None, option_types: OptionTypes | None = None) -> Settings:
    """The settings of the instance in `directory` (or from `file`), for `option_types` see
    `mailserver.settings.read.read`. Raises SettingsError or ControlError."""
    path = file or directory / SETTINGS
    try:
        octets = path.read_bytes()
    except FileNotFoundError:
        raise ControlError(
            f"there is no instance in {directory.absolute()} ({path.name} is missing); make one with"
            f" `mailserverctl --instance {shlex.quote(str(directory))} init --domain example.org --account anna`,"
            " or name another with --instance DIR"
        ) from None
    except PermissionError:
        raise ControlError(_closed(directory)) from None
    except OSError as error:
        raise ControlError(f"{path} cannot be read: {error.strerror}") from None
    return read(decode(octets, str(path)), str(path), directory.absolute(), option_types)


def _closed(directory: Path) -> str:
    """Of an instance that this user may not look into: whose it is."""
    for place in (directory / SETTINGS, directory, *directory.absolute().parents):
        try:
            owner = place.stat().st_uid
        except OSError:
            continue
        if owner != os.geteuid():
            who = user_name(owner)
            return f"{directory} belongs to the user {who}; run this command as that user (sudo -u {who} …)"
        break
    return f"{directory / SETTINGS} is closed to its own user; run: chmod -R u+rwX {directory}"


def check(settings: Settings, clock: IClock) -> dict[str, Any]:
    """A reply that says what was found right, with warnings. Raises ControlError with all that is wrong."""
    if wrong := list(problems(settings)):
        raise ControlError("\n".join(wrong))
    warned = preflight.warnings(settings, clock.wall())
    listeners = [listener for listener in settings.listeners if listener.enabled]
    where = ", ".join(f"{listener.name} on {' '.join(listener.listen)}" for listener in listeners)
    return {
        "host name": settings.host_name,
        "outgoing": settings.relay.outgoing,
        "warnings": [{"warning": sentence} for sentence in warned],
        "said": f"the settings are right ({where or 'no listener is enabled'})",
    }


def problems(settings: Settings) -> Iterator[str]:
    """Sentences about the instance, and about the files that the settings name."""
    yield from preflight.check(settings)
    files = {route.ca_file for route in settings.routes} | {settings.relay.smart_host_ca_file}
    contexts = ClientContexts()
    for ca_file in sorted(files - {""}):
        try:
            contexts.creator("verified", settings.host_name, str(settings.path(ca_file)))
        except CertificateProblem as error:
            yield str(error)
    password_file = settings.path(settings.relay.smart_host_password_file or ".")
    if not os.access(password_file, os.R_OK):
        yield f"relay.smart_host_password_file: {password_file} cannot be read; make it, or say where it is"


def problems_beside(directory: Path) -> list[str]:
    """What is wrong with files and ports, as far as settings that have mistakes can be read."""
    try:
        text = (directory / SETTINGS).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return []
    settings = readable(text, directory.absolute())
    return [] if settings is None else list(problems(settings))


async def create(directory: Path, first: First, clock: IClock) -> dict[str, Any]:
    """Make the instance `directory`. Raises MailServerError; then nothing is left of the attempt."""
    mailbox = first.mailbox
    check_length(first.password)
    host_name = first.host_name or f"mail.{mailbox.domain}"
    text = first_settings(host_name)
    settings = read(text, SETTINGS, directory.absolute())
    made = _claim(directory)
    try:
        for name in _DIRECTORIES:
            (directory / name).mkdir(mode=0o700)
        certificate, key = self_signed(host_name, clock.wall())
        default = settings.certificate("default")
        _write(settings.path(default.chain), certificate, 0o644)
        _write(settings.path(default.key), key, 0o600)
        await _first_account(directory / ACCOUNTS, first, settings.accounts.bcrypt_cost, clock)
        _write(directory / SETTINGS, text.encode(), 0o600)
    except BaseException as error:
        _undo(directory, made)
        if isinstance(error, OSError):
            raise ControlError(f"the instance {directory} cannot be made: {error}") from error
        raise
    return {
        "instance": str(directory.absolute()),
        "settings": str(directory.absolute() / SETTINGS),
        "certificate": str(settings.path(default.chain)),
        "account": str(mailbox),
        "host name": host_name,
        "said": f"made {directory} with the account {mailbox}; mail for other hosts is held (relay.outgoing)",
    }


async def _first_account(path: Path, first: First, cost: int, clock: IClock) -> None:
    store = AccountStore(path, inline, clock)  # type: ignore[arg-type]  # zope cannot see that a function provides it
    store.open()
    try:
        mailbox = first.mailbox
        assert mailbox.domain is not None
        await store.add_domain(mailbox.domain)
        await store.add_account(mailbox, keep_password(first.password, cost, store.salt(mailbox)))
    finally:
        store.close()


def _claim(directory: Path) -> bool:
    """Make the directory, or take an empty one; whether it was made."""
    try:
        if not directory.exists():
            directory.mkdir(mode=0o700, parents=True)
            return True
        if any(directory.iterdir()):
            raise ControlError(_taken(directory))
        directory.chmod(0o700)
    except OSError as error:
        raise ControlError(f"the instance {directory} cannot be made: {error.strerror}") from error
    return False


def _taken(directory: Path) -> str:
    what = "is an instance already" if (directory / SETTINGS).exists() else "exists and is not empty"
    return f"{directory} {what}; nothing was changed. For a new instance name another directory: --instance DIR"


def _undo(directory: Path, made: bool) -> None:
    for entry in directory.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    if made:
        directory.rmdir()


def _write(path: Path, octets: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(octets)
