"""The test kit: a whole mail server in one object, with the world around it.

Production reception, queue, client and transports, over connections in memory, a spool in memory and a clock
that only moves by :meth:`MailKit.advance`, and as far as an answer must be waited for. No thread, no socket, no
sleep; kits share nothing but certificates, so that tests run in parallel. :meth:`MailKit.listen` is the one
exception, for applications that speak SMTP themselves.

Addresses are text everywhere. Wall times are seconds since 1970; the clock begins on Monday, 5 January 2026, at
noon UTC. What one of our protocols raises is raised in the test.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from mailserver.log import Log
from mailserver.message.content import Content
from mailserver.message.fate import Fate
from mailserver.message.query import Query
from mailserver.message.state import State
from mailserver.server import MailServer
from mailserver.testing.certificates import Certificates, shared_certificates
from mailserver.testing.client import Letter, Submitted, Way, send
from mailserver.testing.composition import ADDRESSES, Around, Composed, default_settings
from mailserver.testing.host import ScriptedHost
from mailserver.testing.names import ScriptedNames
from mailserver.testing.passing import Passing
from mailserver.testing.people import KitMailbox, People
from mailserver.testing.port import LoopbackPort
from mailserver.testing.reactor import MemoryReactor, VirtualClock
from mailserver.testing.received import ReceivedMessage
from mailserver.testing.standings import standings

# How long, by the virtual clock, an answer of ours may take: longer than any time-out of the protocol.
PATIENCE = 3_600.0
# The default of `wait_for`: whatever is on its way has come by then, or gone back (queue.expire is five days).
A_WEEK = 604_800.0
# RFC 2544 §C.2.2: addresses for tests, more than anybody needs.
_HOSTS = "198.18"
_CLIENT = "192.0.2.100"


class _Lines:
    """The log of a kit."""

    def __init__(self) -> None:
        self.octets = bytearray()

    def write(self, octets: bytes, /) -> int:
        self.octets += octets
        return len(octets)


class MailKit:
    """``dns`` says what names mean; ``clock`` is the virtual clock; ``hosts`` are those made by :meth:`host`.

    The server is made when it is first needed: what configures it comes before."""

    def __init__(self) -> None:
        self.reactor = MemoryReactor()
        self.clock = VirtualClock(self.reactor)
        self.dns = ScriptedNames()
        self.hosts: list[ScriptedHost] = []
        self._turned = threading.Condition(threading.RLock())
        self._lines = _Lines()
        self._people = People(self.clock.wall)
        self._settings: dict[str, Any] = {}
        self._transports: dict[str, Any] = {}
        self._composed: Composed | None = None
        self._ports: list[LoopbackPort] = []
        self._stopped = False
        self._passing = Passing(self.reactor, self.clock)

    # The server.

    def configure(self, *, transports: Mapping[str, Any] | None = None, **settings: Any) -> MailKit:
        """Settings by their names in code, ``configure(queue=Queue(retry=[60]), limits=Limits(...))``, all of
        `mailserver.settings.Settings` but ``instance``; and `transports` as `mailserver.service.build` takes them.

        Raises RuntimeError once the server runs. What is wrong raises SettingsError when it starts."""
        if self._composed is not None:
            raise RuntimeError("the server of this kit runs already: configure it before anything else")
        self._settings.update(settings)
        self._transports.update(transports or {})
        return self

    @property
    def server(self) -> MailServer:
        """The server itself, running; for its awaitables see :meth:`wait`."""
        return self._running().server

    def _running(self) -> Composed:
        composed = self._composed
        if composed is None:
            settings = default_settings(self._settings, self.certificates)
            log = Log(self._lines, self.clock)
            around = Around(self.reactor, self.clock, self._people, self.dns, log)
            composed = self._composed = Composed(settings, around, self._transports)
            composed.server.startService()
            self._passing.watch(composed.server)
            self.reactor.settle()
        return composed

    @property
    def log(self) -> str:
        """What the server has logged so far, a line for each event."""
        with self._turned:
            if self._composed is not None:
                self._composed.server.relay.machine.log.flush()
            return self._lines.octets.decode("utf-8", "backslashreplace")

    # Who exists.

    def account(self, address: str, password: str = "password") -> KitMailbox:  # noqa: S107  of a test
        """An account of ours, whose domain is local from now on; answers its mailbox."""
        with self._turned:
            return self._people.add(address, password)

    def alias(self, address: str, *targets: str) -> None:
        """`address`, of a local domain, stands for `targets`."""
        with self._turned:
            self._people.alias(address, targets)

    def mailbox(self, address: str) -> KitMailbox:
        """What arrived for an account. Raises KeyError where there is none."""
        return self._people.mailboxes[address.lower()]

    def host(self, name: str, serves: str | Iterable[str] = (), port: int = 25) -> ScriptedHost:
        """A mail host elsewhere, with an address in DNS, and the best MX of each domain in `serves` that has
        none yet; further hosts of a domain come behind."""
        with self._turned:
            number = len(self.hosts)
            place = (f"{_HOSTS}.{number // 250}.{number % 250 + 1}", port)
            host = ScriptedHost(name, place, self.reactor, self.clock.wall, self.certificates)
            self.hosts.append(host)
            self.dns.address(name, host.address)
            for domain in (serves,) if isinstance(serves, str) else serves:
                self.dns.mx(domain, name, 10 * (number + 1))
            return host

    @property
    def certificates(self) -> Certificates:
        """Whatever is ``valid`` here is by ``certificates.ca_file``, PEM, also that of our own listeners."""
        return shared_certificates()

    # Sending.

    def submit(
        self, sender: str, recipients: Sequence[str], content: bytes, *, login: tuple[str, str] | None = None
    ) -> Submitted:
        """What an account's mail program does: connect to the submission port, STARTTLS verified, log in, send.

        `content` is header and body with CRLF or LF. `login` is another (user, password) than the sender's own.
        Where the login is refused, that is the answer."""
        with self._turned:
            user = login or (sender, self._people.password(sender) or "")
            return self._send("submission", _CLIENT, user, Letter(sender, list(recipients), Content.of(content)))

    def receive(
        self, sender: str, recipients: Sequence[str], content: bytes, *, client: str = "203.0.113.25"
    ) -> Submitted:
        """What another mail host does: connect to port 25 from the address `client`, and send without a login.
        The sender "" is the null reverse-path."""
        with self._turned:
            return self._send("mx", client, None, Letter(sender, list(recipients), Content.of(content)))

    def _send(self, listener: str, source: str, user: tuple[str, str] | None, letter: Letter) -> Submitted:
        plan, creator = self._running().plan(user, self.certificates)
        submitted: Submitted = self.wait(
            send(self.reactor, Way(ADDRESSES[listener], source, plan, creator), letter)
        )
        return submitted

    def wait(self, awaitable: Any) -> Any:
        """The result of a Deferred or coroutine of the server (``kit.wait(kit.server.outbox.send(…))``), or
        its exception. Time passes as far as it must; after :data:`PATIENCE` seconds of it TimeoutError."""
        with self._turned:
            self._running()
            done = awaitable if isinstance(awaitable, Deferred) else Deferred.fromCoroutine(awaitable)
            got: list[Any] = []
            failures: list[Any] = []
            done.addCallbacks(got.append, failures.append)
            self._passing.run(self._passing.now + PATIENCE, lambda: bool(got or failures))
            if failures:
                failures[0].raiseException()
            if not got:
                raise TimeoutError(f"no result within {PATIENCE:g} seconds of the virtual clock")
            return got[0]

    # Time.

    def advance(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Let so much time pass, with everything that falls into it."""
        with self._turned:
            self._running()
            self._passing.run(self._passing.now + ((days * 24 + hours) * 60 + minutes) * 60 + seconds)

    # What became of it.

    def fate(self, queue_id: str) -> dict[str, Fate]:
        """Where every recipient as given stands, final or not; ``status`` is 4.0.0 and ``attempts`` 0 for whoever
        was not tried yet. Raises KeyError for an unknown queue id."""
        with self._turned:
            return standings(self._running().spool.recipients(queue_id))

    @property
    def queued(self) -> dict[tuple[str, str], State]:
        """The state of every recipient that is not final, by queue id and address."""
        with self._turned:
            page = self._running().spool.find(Query(limit=sys.maxsize))
            return {
                (message.queue_id, str(one.recipient.mailbox)): one.state
                for message in page.messages
                for one in message.recipients
                if not one.state.final
            }

    @property
    def messages(self) -> list[ReceivedMessage]:
        """Everything that arrived, in our mailboxes and at the hosts, oldest first."""
        with self._turned:
            found = [one for mailbox in self._people.mailboxes.values() for one in mailbox.messages]
            found += [one for host in self.hosts for one in host.messages]
            return sorted(found, key=lambda one: one.at)

    def wait_for(
        self, *, to: str | None = None, subject: str | None = None, sender: str | None = None,
        seconds: float | None = None,
    ) -> ReceivedMessage:  # fmt: skip
        """The first message that arrived anywhere with this recipient, words of its subject, and sender.

        Where there is none yet, time passes until there is, at most `seconds` (by default a week); while a port is
        open it is real time (by default ten seconds). Then AssertionError, with what did arrive."""
        wanted = (to, subject, sender)
        with self._turned:
            self._running()
            if self._ports:
                self._turned.wait_for(lambda: self._find(wanted) or self._broken(), seconds or 10)
            else:
                self._passing.run(self._passing.now + (seconds or A_WEEK), lambda: self._find(wanted) is not None)
            for port in self._ports:
                port.check()
            found = self._find(wanted)
            if found is None:
                arrived = "".join(
                    f"\n  at {m.where}: {m.sender} to {m.recipients}, {m.subject!r}" for m in self.messages
                )
                raise AssertionError(
                    f"no message to={to!r} subject={subject!r} sender={sender!r}; arrived: {arrived or 'nothing'}"
                )
            return found

    def _find(self, wanted: tuple[str | None, str | None, str | None]) -> ReceivedMessage | None:
        return next((one for one in self.messages if one.is_for(*wanted)), None)

    # For applications that speak SMTP themselves.

    def listen(self, listener: str = "mx") -> LoopbackPort:
        """Open ``mx``, ``submission`` or ``submissions`` on a free port of 127.0.0.1. Whoever connects there may
        send to anybody (`relay.networks` has 127.0.0.0/8); submission demands TLS and a login all the same."""
        self._running()
        port = LoopbackPort(self.reactor, self._passing, ADDRESSES[listener], self._turned)
        self._ports.append(port)
        return port

    def _broken(self) -> bool:
        return any(port.failure is not None for port in self._ports)

    # The end.

    def stop(self) -> None:
        """Close the ports and stop the server in good order; a second time does nothing. Raises what happened
        behind a port."""
        ports, self._ports = self._ports, []
        for port in ports:
            port.close()
        if self._composed is not None and not self._stopped:
            self._stopped = True
            self.wait(self._composed.server.stopService())
            self._passing.watch(None)
        for port in ports:
            port.check()
