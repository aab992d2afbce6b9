"""Everything that can be tried before a start, and one sentence for each thing that is wrong.

Nothing is written, made or kept: the lock is tried and released, ports are bound and closed, certificates are
read. Ports are left alone while another server holds the lock, for they are probably its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mailserver.net.listener import try_bind
from mailserver.net.tls import CertificateProblem, server_context
from mailserver.settings.model import Settings
from mailserver.spool.lock import lock_holder


def problems_of(settings: Settings) -> list[str]:
    """What would keep a server with these settings from starting now."""
    problems = [*_directories(settings), *_certificates(settings)]
    try:
        holder = lock_holder(settings.path("spool"))
    except PermissionError:
        return problems  # named above, and whose the ports are cannot be known
    if holder is not None:
        problems.append(
            f"{settings.instance}: another server has this instance open ({holder}); "
            "stop it first, or use another instance directory"
        )
    elif settings.reception.enabled:
        problems += try_bind(
            (address, f"listeners.{listener.name}.listen")
            for listener in settings.listeners
            if listener.enabled
            for address in listener.addresses
        )
    return problems


def check(settings: Settings) -> list[str]:
    """The same for ``config check``, which must not disturb: no port is bound."""
    return [*_directories(settings), *_certificates(settings)]


def _certificates(settings: Settings) -> Iterator[str]:
    used = {one.certificate for one in settings.listeners if one.enabled and one.tls != "none"}
    for certificate in settings.certificates:
        if certificate.name in used:
            try:
                server_context(settings.path(certificate.chain), settings.path(certificate.key))
            except CertificateProblem as problem:
                yield f"certificates.{certificate.name}: {problem}"


def _directories(settings: Settings) -> Iterator[str]:
    instance = settings.instance
    if not instance.is_dir():
        yield f"{instance}: is no directory; make an instance with: mailserverctl --instance {instance} init"
        return
    spool = instance / "spool"
    run = settings.path(settings.control.socket).parent
    for path in (instance, spool, spool / "content", run):
        yield from _directory(path)
    for path in (instance / "accounts.db", spool / "spool.db", spool / "lock"):
        yield from _file(path)
    if settings.log.path:
        yield from _log(settings.path(settings.log.path))


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
