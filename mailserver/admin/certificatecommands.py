"""Commands about certificates: a self-signed one, where there is none yet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mailserver.admin import instance
from mailserver.admin.command import Argument, Command, ControlError, Place
from mailserver.admin.world import Files
from mailserver.net.tls import self_signed
from mailserver.settings.model import Certificate, Settings


async def _new(files: Files, name: str, force: bool) -> dict[str, Any]:
    settings = instance.load(files.instance)
    named = _named(settings, name)
    chain, key = settings.path(named.chain), settings.path(named.key)
    for path in (chain, key):
        if path.exists() and not force:
            raise ControlError(f"{path} exists; nothing was changed. Say --force to put a new one in its place")
    certificate, private = self_signed(settings.host_name, files.clock.wall())
    try:
        _put(key, private, 0o600)
        _put(chain, certificate, 0o644)
    except OSError as error:
        raise ControlError(f"{error.filename or chain} cannot be written: {error.strerror}") from None
    return {
        "certificate": str(chain),
        "key": str(key),
        "said": f"made the self-signed certificate {chain} for {settings.host_name}; a server that runs takes it"
        " at its next start",
    }


def _named(settings: Settings, name: str) -> Certificate:
    for certificate in settings.certificates:
        if certificate.name == name:
            return certificate
    there = ", ".join(certificate.name for certificate in settings.certificates) or "none"
    raise ControlError(f"the settings have no table [certificates.{name}]; there is: {there}")


def _put(path: Path, octets: bytes, mode: int) -> None:
    """The whole file or none of it: a server may start meanwhile."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(octets)
    new.replace(path)


COMMANDS = (
    Command(
        "certificate new",
        "Make a self-signed certificate and its key, in the files that the settings name.",
        _new,
        (
            Argument("name", "the name of its table in [certificates] (by default default)", default="default"),
            Argument("force", "put it in the place of one that is there", bool, default=False),
        ),
        "certificate new --name default",
        place=Place.FILES,
    ),
)
