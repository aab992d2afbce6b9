"""Commands about certificates: a self-signed one, where there is none yet; new ones for a running server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mailserver.admin import instance
from mailserver.admin.command import Argument, Command, ControlError, Place
from mailserver.admin.world import Files, World
from mailserver.net.tls import self_signed
from mailserver.settings.listener import Certificate
from mailserver.settings.model import Settings


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
        " within a minute, or at once after `certificate reload`",
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


async def _reload(world: World) -> dict[str, Any]:
    if world.certificates is None:
        raise ControlError("this server never listens, and needs no certificate")
    looked = await world.certificates.reload()
    bad = [f"certificates.{one.name}: {one.problem}" for one, _ in looked if one.problem]
    if bad:
        raise ControlError("; ".join([*bad, "what was in use before stays in use"]))
    new = [f"{one.name} (until {one.expires})" for one, changed in looked if changed]
    return {
        "certificates": [{"name": one.name, "expires": one.expires, "new": changed} for one, changed in looked],
        "said": f"new connections get {', '.join(new)}" if new else "no certificate has changed",
    }


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
    Command(
        "certificate reload",
        "Use the certificates that are in the files now, for new connections. Sessions go on.",
        _reload,
        (),
        "certificate reload",
        place=Place.SERVER,
    ),
)
