"""Commands about the server itself: status, a test message, its settings.

What the running server says of itself (``World.status``) is a mapping: ``uptime`` (seconds), ``blocked`` (why
new mail is refused for now, or None), ``attempts`` under way, and ``listeners``: mappings with ``name``,
``role``, ``tls``, ``sessions``, and ``wanted`` and ``listening``, two lists of ``ADDRESS:PORT``, and
``certificates``: mappings with ``name``, ``expires`` (a day), and ``problem``, why its files cannot be used.
"""

from __future__ import annotations

from typing import Any

from mailserver.admin import instance, sendtest
from mailserver.admin.command import GENERATED, Argument, Command, ControlError, Place
from mailserver.admin.tables import moment
from mailserver.admin.world import Files, World
from mailserver.settings.problem import SettingsError


async def _status(world: World) -> dict[str, Any]:
    running = world.running()
    blocked = running.get("blocked")
    return {
        "host name": world.settings.host_name,
        "instance": str(world.settings.instance),
        "started": moment(round(world.clock.wall() - running["uptime"])),
        "uptime": int(running["uptime"]),
        "new mail": f"refused for now: {blocked}" if blocked else "accepted",
        "outgoing": world.settings.relay.outgoing,
        "attempts under way": running["attempts"],
        "listeners": [
            {
                "name": listener["name"],
                "role": listener["role"],
                "tls": listener["tls"],
                "desired": list(listener["wanted"]),
                "actual": list(listener["listening"]),
                "sessions": listener["sessions"],
            }
            for listener in running["listeners"]
        ],
        "certificates": [dict(certificate) for certificate in running.get("certificates", ())],
        "queue": dict(world.reader.counts()),
    }


async def _config_check(files: Files) -> dict[str, Any]:
    # Imported here: plugins bring Twisted's part for logins, which no other command needs.
    from mailserver.plugins import Catalogue  # noqa: PLC0415
    from mailserver.portals import misplaced  # noqa: PLC0415

    catalogue = Catalogue()
    try:
        settings = instance.load(files.instance, option_types=catalogue.options_type)
        if wrong := misplaced(settings, catalogue):
            raise SettingsError(wrong)
    except SettingsError as error:
        # What the rest of the file names is looked at all the same, so that one more round is enough.
        more = instance.problems_beside(files.instance)
        raise ControlError("\n".join([str(error), *more])) from None
    return instance.check(settings, files.clock)


async def _init(files: Files, domain: str, account: str, password: str, host_name: str | None) -> dict[str, Any]:
    first = instance.First(domain, account, password, host_name or "")
    return await instance.create(files.instance, first, files.clock)


COMMANDS = (
    Command(
        "init",
        "Make an instance directory: settings, certificate, the first domain and account.",
        _init,
        (
            Argument("domain", "the domain whose mail is taken", required=True),
            Argument("account", "its first account: a name, or a whole address", required=True),
            Argument("password", "the account's password", secret=True, required=True, default=GENERATED),
            Argument("host_name", "the name of this machine in DNS (by default mail.DOMAIN)"),
        ),
        "init --domain example.org --account anna --host-name mx.example.org",
        place=Place.FILES,
    ),
    Command(
        "status",
        "Show whether the server runs, where it listens, and how much mail waits.",
        _status,
        (Argument("wait", "wait at most so many seconds until the server answers", float, local=True),),
        "status --wait 10",
        place=Place.SERVER,
        who="viewer",
    ),
    Command(
        "send-test",
        "Send a small message through the running server by SMTP, and wait until it is delivered.",
        sendtest.send_test,
        (
            Argument("to", "the address to send to (by default the first account)"),
            Argument("timeout", "how many seconds to wait (by default 20)", float, default=20.0),
        ),
        "send-test",
        place=Place.SERVER,
    ),
    Command(
        "config check",
        "Read the settings file and everything it names, and say all that is wrong.",
        _config_check,
        (),
        "config check",
        place=Place.FILES,
    ),
)
