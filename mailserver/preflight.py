"""Everything that can be tried before a start, and one sentence for each thing that is wrong.

Nothing is written, made or kept: the lock is tried and released, ports are bound and closed, certificates and
the first octets of databases are read. Ports and databases are left alone while a server holds the lock: the
ports are probably its own, and whoever closes a database file drops SQLite's locks on it in his process.

:func:`warnings` has what keeps no server from starting, and some client or mail from getting through.
"""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

from mailserver.accounts.peek import hosted_domains
from mailserver.admin.socketplace import place_problem
from mailserver.net.listener import try_bind
from mailserver.net.tls import CertificateProblem, certificate_doubts, server_context
from mailserver.settings.listener import Certificate
from mailserver.settings.model import Settings
from mailserver.settings.plugin import BrokenPlugin
from mailserver.settings.problem import key_path
from mailserver.spool.lock import PATIENCE, lock_holder

# Every SQLite database begins with it; a new one is empty.
_MAGIC = b"SQLite format 3\0"
# Deliveries, databases, content files.
_OTHER_DESCRIPTORS = 200


def problems_of(settings: Settings) -> list[str]:
    """What would keep a server with these settings from starting now."""
    return _problems(settings, start=True)


def check(settings: Settings) -> list[str]:
    """The same for ``config check``, to which a server that runs already is nothing wrong."""
    return _problems(settings, start=False)


def _problems(settings: Settings, start: bool) -> list[str]:
    problems = [*_directories(settings), *_certificates(settings)]
    if start:  # another process has limits of its own
        problems += _descriptors(settings)
    try:
        holder = lock_holder(settings.path("spool"), PATIENCE if start else 0.0)
    except OSError:
        return problems  # named above, and whose the ports are cannot be known
    if holder is None:
        problems += _databases(settings)
        problems += _ports(settings)
    elif start:
        problems.append(
            f"{settings.instance}: another server has this instance open ({holder}); "
            "stop it first, or use another instance directory"
        )
    return problems


def _descriptors(settings: Settings) -> Iterator[str]:
    """A server that runs out of descriptors refuses mail that it could take."""
    if not settings.reception.enabled:
        return
    connections = sum(listener.max_connections for listener in settings.listeners if listener.enabled)
    needed = connections + _OTHER_DESCRIPTORS
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        yield (
            f"listeners: {connections} connections at once need {needed} file descriptors, and this process may"
            f" have {hard}; raise it (LimitNOFILE of the systemd unit, ulimit -Hn), or lower max_connections"
        )


def _ports(settings: Settings) -> list[str]:
    if not settings.reception.enabled:
        return []
    return try_bind(
        (address, f"listeners.{listener.name}.listen")
        for listener in settings.listeners
        if listener.enabled
        for address in listener.addresses
    )


def _shown(settings: Settings) -> set[str]:
    """The certificates of listeners, which clients get that ask for no name."""
    return {one.certificate for one in settings.listeners if one.enabled and one.tls != "none"}


def _used_certificates(settings: Settings) -> Iterator[Certificate]:
    """With TLS at all, each is for clients that ask for one of its names."""
    yield from settings.certificates if _shown(settings) else ()


def _certificates(settings: Settings) -> Iterator[str]:
    for certificate in _used_certificates(settings):
        chain, key = settings.path(certificate.chain), settings.path(certificate.key)
        try:
            server_context(chain, key)
        except CertificateProblem as problem:
            yield f"certificates.{certificate.name}: {problem}{_repair(settings, certificate, chain, key)}"


def _repair(settings: Settings, certificate: Certificate, *files: Path) -> str:
    if any(os.path.exists(file) for file in files):
        return ""
    command = f"mailserverctl --instance {settings.instance} certificate new --name {certificate.name}"
    return f" (a self-signed one: {command})"


# Databases.


def _databases(settings: Settings) -> Iterator[str]:
    accounts = settings.path("accounts.db")
    if _size(accounts) > 0:
        yield from _header(accounts, "restore it from a backup")
    elif os.path.isdir(settings.instance) and not _brings_directory(settings):
        what = "is empty" if os.path.exists(accounts) else "is missing"
        yield (
            f"{accounts}: {what}, and without it all mail would be refused for good; restore it from a backup, or"
            " make a new instance in another directory (mailserverctl --instance DIR init)"
        )
    yield from _header(settings.path("spool/spool.db"), "restore it from a backup, or move it away")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _header(path: Path, advice: str) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            octets = file.read(len(_MAGIC))
    except OSError:
        return  # a new one is made, or it is named already
    if octets not in (b"", _MAGIC):
        yield f"{path}: is no database, or a damaged one; {advice}"


def _brings_directory(settings: Settings) -> bool:
    """Does a plugin say who exists here?"""
    if not settings.plugins:
        return False
    # Imported here: plugins bring Twisted's part for logins.
    from mailserver.plugins import DIRECTORY, Catalogue  # noqa: PLC0415

    catalogue = Catalogue()
    for plugin in settings.plugins:
        try:
            if DIRECTORY in catalogue.load(plugin.name).kinds:
                return True
        except BrokenPlugin:
            continue
    return False


# Directories and files.


def _directories(settings: Settings) -> Iterator[str]:
    instance = settings.instance
    if not instance.is_dir():
        yield f"{instance}: is no directory; make an instance with: mailserverctl --instance {instance} init"
        return
    spool = instance / "spool"
    for path in (instance, spool, spool / "content"):
        yield from _directory(path)
    yield from _control(settings.path(settings.control.socket))
    for path in (instance / "accounts.db", spool / "spool.db", spool / "lock"):
        yield from _file(path)
    if settings.log.path:
        yield from _log(settings.path(settings.log.path))


def _control(socket: Path) -> Iterator[str]:
    closed = list(_directory(socket.parent))
    yield from closed
    if not closed and (problem := place_problem(socket)):
        yield problem


def _log(path: Path) -> Iterator[str]:
    if not os.path.exists(path.parent):
        yield f"{path.parent}: does not exist; make this directory, or change log.path"
    yield from _directory(path.parent)
    yield from _file(path)


# os.path and not Path: what lies in a directory that is closed to us does not exist, and raises nothing.


def _directory(path: Path) -> Iterator[str]:
    if os.path.isdir(path):
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            yield _not_ours(path)
    elif os.path.exists(path):
        yield f"{path}: is no directory; move it away"


def _file(path: Path) -> Iterator[str]:
    if os.path.exists(path) and not os.access(path, os.R_OK | os.W_OK):
        yield _not_ours(path)


def _not_ours(path: Path) -> str:
    user, group = os.geteuid(), os.getegid()
    repair = "chmod u+rwX" if path.stat().st_uid == user else f"chown -R {user}:{group}"
    return f"{path}: is not writable for this user; run: {repair} {path}"


# What is worth saying, and no reason not to start.


def warnings(settings: Settings, now: float) -> list[str]:
    """Sentences; `now` is wall-clock seconds."""
    return [*_doubts(settings, now), *_local_routes(settings)]


def _doubts(settings: Settings, now: float) -> Iterator[str]:
    for certificate in _used_certificates(settings):
        at = f"certificates.{certificate.name}"
        try:
            host_name = settings.host_name if certificate.name in _shown(settings) else ""
            for doubt in certificate_doubts(settings.path(certificate.chain), host_name, now):
                yield f"{at}: {doubt}"
            key = settings.path(certificate.key)
            mode = key.stat().st_mode
        except (CertificateProblem, OSError):
            continue  # a problem, and named as such
        if mode & stat.S_IROTH:
            yield f"{at}: every user of this machine can read the key {key}; run: chmod o-rwx {key}"
    accounts = settings.path("accounts.db")
    if accounts.exists() and accounts.stat().st_mode & (stat.S_IROTH | stat.S_IRGRP):
        yield f"others can read the passwords' hashes and keys in {accounts}; run: chmod go-rwx {accounts}"


def _local_routes(settings: Settings) -> Iterator[str]:
    if not settings.routes:
        return
    try:
        in_use = lock_holder(settings.path("spool")) is not None
    except OSError:
        return
    local = hosted_domains(settings.path("accounts.db"), in_use)
    for route in settings.routes:
        if route.domain in local:
            at = key_path("routes", str(route.domain))
            yield f"{at}: {route.domain} is a domain of this server: its mail stays here, this route is never used"
