"""Everybody else: DNS, the hosts that take mail or do not, and the local mailboxes, as the plan has their moods.

The production transport asks the production host finder and walks along the hosts; only the session with a host is
ours. A host answers as its mood of the moment makes likely: see :data:`MOODS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailserver.interfaces import IResolver, ITransport
from mailserver.message.envelope import Recipient
from mailserver.message.outcome import Outcome, delivered, transient
from mailserver.message.route import Attempt
from mailserver.net.client import Peer
from mailserver.net.outcomes import outcome_of
from mailserver.net.resolver import LookupTransient, NameNotFound
from mailserver.smtp.reply import Reply
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import Answer, Phase
from mailserver.transport.smtp import SmtpTransport
from tests.simulation.world import Injected


@dataclass(frozen=True, slots=True)
class Mood:
    """Chances. ``connect``: of no connection; ``greeting``: of 421 or 554; ``mail``, ``rcpt`` and ``final``: of a
    refusal, of which ``hard`` are 5yz; ``lost``: of a reset, before the final dot or behind it; ``ours``: of a bug
    of the transport, which raises or forgets a recipient. ``latency`` is in seconds, at most."""

    latency: float = 2.0
    connect: float = 0.0
    greeting: float = 0.0
    mail: float = 0.0
    rcpt: float = 0.0
    final: float = 0.0
    hard: float = 0.0
    lost: float = 0.0
    ours: float = 0.0


MOODS = {
    "good": Mood(),
    "slow": Mood(latency=1_200.0),
    "busy": Mood(mail=0.3, rcpt=0.5, final=0.3),
    "strict": Mood(mail=0.1, rcpt=0.3, final=0.2, hard=0.9),
    "dead": Mood(connect=1.0),
    "breaking": Mood(lost=0.6),
    "closing": Mood(greeting=0.7, hard=0.1),
    "mixed": Mood(
        latency=60.0, connect=0.2, greeting=0.1, mail=0.1, rcpt=0.2, final=0.1, hard=0.1, lost=0.2, ours=0.05
    ),
}


class Moods:
    """Of one host, domain or mailbox: ``spells`` are (from when, mood), the first from 0."""

    def __init__(self, spells: Sequence[tuple[float, str]]) -> None:
        self._spells = spells

    def at(self, now: float) -> str:
        """The mood of that moment."""
        return [mood for since, mood in self._spells if since <= now][-1]


@lru_cache(maxsize=1_000)
def _outcome(phase: Phase, code: int, status: Status, text: str, host: str, kind: str = "") -> Outcome:
    reply = Reply(code, status, (text,)) if code else None
    answer = Answer(phase, reply, status, text, uncertain=kind == "uncertain")
    return outcome_of(answer, host, dsn=kind == "dsn")


@implementer(IResolver)
class Names:
    """DNS: each domain has the hosts that the plan gave it, ``mx0.`` and so on before its name."""

    def __init__(self, process: Any, hosts: Mapping[str, Sequence[str]], moods: Mapping[str, Moods]) -> None:
        self._process = process
        self._hosts = hosts
        self._moods = moods

    async def query(self, name: str, kind: str) -> Sequence[Any]:
        """See `IResolver.query`."""
        if name not in self._hosts:
            return ["192.0.2.25"] if kind == "A" else []
        mood = self._moods[name].at(self._process.world.now)
        if mood != "good":
            await self._process.pause(5.0)
            self._process.world.say("DNS", name=name, says=mood)
        if mood == "silent":
            raise LookupTransient(f"{name}: no answer")
        if mood == "unknown":
            raise NameNotFound(f"{name} does not exist")
        if mood == "null":
            return [(0, "")] if kind == "MX" else []
        return [(10 * place, host) for place, host in enumerate(self._hosts[name])] if kind == "MX" else []


class Relay(SmtpTransport):
    """The production transport as far as the wire."""

    def __init__(self, process: Any, settings: Any, names: Names) -> None:
        super().__init__(process.loop, settings, names, None, process.log)  # type: ignore[arg-type]
        self._process = process

    async def _try(self, attempt: Attempt, peer: Peer) -> Mapping[Recipient, Outcome]:
        return await Visit(self._process, attempt, peer.host).outcomes()


class Visit:
    """One session with a host, for one message."""

    def __init__(self, process: Any, attempt: Attempt, host: str) -> None:
        self._process = process
        self._world = process.world
        self._attempt = attempt
        self._host = host
        self._mood = MOODS[process.moods[host].at(self._world.now)]
        self._answers: dict[Recipient, Outcome] = {}

    async def outcomes(self) -> Mapping[Recipient, Outcome]:
        """What it comes to."""
        await self._process.pause(self._world.random.random() * self._mood.latency)
        self._before_recipients()
        left = self._recipients()
        if left and self._chance(self._mood.lost / 2):
            self._answer(left, _outcome(Phase.RCPT, 0, Status(4, 4, 2), "the connection was lost", self._host))
        elif left:
            await self._content(left)
        self._world.say("host", name=self._host, said=[outcome.text for outcome in self._answers.values()])
        return self._answers

    def _chance(self, probability: float) -> bool:
        return probability > 0 and self._world.chance(probability)

    def _answer(self, recipients: Sequence[Recipient], outcome: Outcome) -> None:
        self._answers.update(dict.fromkeys(recipients, outcome))

    def _refusal(self, phase: Phase) -> Outcome:
        if self._chance(self._mood.hard):
            return _outcome(phase, 550, Status(5, 7, 1), "never", self._host)
        return _outcome(phase, 451, Status(4, 7, 1), "later", self._host)

    def _before_recipients(self) -> None:
        """Nothing is answered where all goes well so far."""
        mood = self._mood
        everybody = self._attempt.recipients
        if self._chance(mood.connect):
            self._answer(everybody, _outcome(Phase.CONNECT, 0, Status(4, 4, 1), "connection refused", self._host))
        elif self._chance(mood.greeting):
            code, status = (554, Status(5, 3, 2)) if self._chance(mood.hard) else (421, Status(4, 3, 2))
            self._answer(everybody, _outcome(Phase.GREETING, code, status, "not here", self._host))
        elif self._chance(mood.mail):
            self._answer(everybody, self._refusal(Phase.MAIL))

    def _recipients(self) -> list[Recipient]:
        """Who is taken so far."""
        if self._answers:
            return []
        left = []
        for one in self._attempt.recipients:
            if self._chance(self._mood.rcpt):
                self._answers[one] = self._refusal(Phase.RCPT)
            else:
                left.append(one)
        return left

    async def _content(self, left: Sequence[Recipient]) -> None:
        latency = self._world.random.random() * self._mood.latency
        if self._chance(self._mood.final):
            await self._process.pause(latency)
            self._answer(left, self._refusal(Phase.FINAL))
            return
        lost = self._chance(self._mood.lost / 2)
        if not self._process.alive:
            return
        if not lost or self._world.chance(0.6):
            for one in left:
                self._process.ledger.copied(self._attempt, one.number, self._host).excused = lost
            self._process.point("the host has it, and has not said so")
        await self._process.pause(latency)
        if lost:
            text = "the connection was lost after the final dot"
            self._answer(left, _outcome(Phase.FINAL, 0, Status(4, 4, 2), text, self._host, "uncertain"))
        else:
            kind = "dsn" if self._host.startswith("mx1") else ""
            self._answer(left, _outcome(Phase.FINAL, 250, Status(2, 0, 0), "taken", self._host, kind))


@implementer(ITransport)
class Watched:
    """A transport whose attempts the ledger sees; a dead process has no answer."""

    def __init__(self, process: Any, inner: Any) -> None:
        self._process = process
        self._inner = inner

    async def deliver(self, attempt: Attempt) -> Any:
        """See `ITransport.deliver`."""
        process = self._process
        if not process.begins(attempt, True):
            return await Deferred[Any]()
        first = attempt.recipients[0]
        mood = MOODS[process.moods[f"mx0.{attempt.route.destination}"].at(process.world.now)]
        if mood.ours and process.world.chance(mood.ours):
            process.ledger.ends(attempt, {}, True)
            raise Injected("a bug of the transport")
        answers = dict(await self._inner.deliver(attempt))
        if mood.ours and len(answers) > 1 and not _passed(answers[first]) and process.world.chance(mood.ours):
            del answers[first]
        if process.alive:
            process.ledger.ends(attempt, answers, True)
            process.point("the transport knows, the queue does not")
        return answers if process.alive else await Deferred[Any]()


def _passed(outcome: Outcome) -> bool:
    return outcome.status.klass == 2


class Mailboxes:
    """The local transport. As the Maildir one, it looks for its own work where an attempt may not be the first."""

    def __init__(self, process: Any) -> None:
        self._process = process

    async def deliver_many(self, attempts: Sequence[Attempt]) -> Any:
        """See `ITransport`."""
        process = self._process
        for attempt in attempts:
            if not process.begins(attempt, False):
                return await Deferred[Any]()
        mood = process.moods["local"].at(process.world.now)
        answers = {}
        for attempt in attempts:
            answers[attempt] = {one: self._write(attempt, one, mood) for one in attempt.recipients}
            process.point("in the mailbox, and not known to be")
            if not process.alive:
                return await Deferred[Any]()
        await process.pause(process.world.random.random() * MOODS[mood].latency)
        for attempt in attempts:
            process.ledger.ends(attempt, answers[attempt], False)
        return answers

    def _write(self, attempt: Attempt, recipient: Recipient, mood: str) -> Outcome:
        process = self._process
        if mood == "busy" and process.world.chance(0.5):
            return transient("over quota", Status(4, 2, 2))
        name = (attempt.queue_id, recipient.number)
        if name in process.mailboxes and attempt.again:
            return delivered()
        if name in process.mailboxes:
            process.world.wrong(f"{attempt.queue_id} {recipient.mailbox}: written twice, for a first attempt")
        process.mailboxes.add(name)
        process.ledger.copied(attempt, recipient.number, "local")
        return delivered()
