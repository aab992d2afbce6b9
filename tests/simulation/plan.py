"""What a seed makes: who sends what to whom and when, in which mood the others are, and what goes wrong.

Hosts to which reports go are well again after a day and a half, so that six days are enough for all of it; the
others may stay as bad as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from mailserver.message.envelope import Envelope, Original
from mailserver.smtp.address import NULL, Mailbox
from tests.simulation.hosts import MOODS, Moods
from tests.simulation.world import DAY, HOUR, YEAR

RETRIES = (
    (60, 300, 900, 1800, 3600, 7200, 14_400),
    (60, 600, 3600, 21_600),
    (300, 43_200),
)
DOMAINS = ("d0.test", "d1.test", "d2.test", "d3.test")
SENDERS_DOMAIN = "home.test"
_LOCAL = ("anna@here.test", "ben@here.test", "nobody@here.test", "team@here.test")
_NOTIFY = (
    *[None] * 6, frozenset({"NEVER"}), frozenset({"SUCCESS"}), frozenset({"FAILURE"}), frozenset({"DELAY"}),
    frozenset({"SUCCESS", "FAILURE", "DELAY"}), frozenset({"FAILURE", "DELAY"}),
)  # fmt: skip
_SENDERS = ("s@home.test", "s@home.test", "t@home.test", "anna@here.test", "")


@dataclass(frozen=True, slots=True)
class Message:
    """What a client sends at ``when``."""

    when: float
    envelope: Envelope
    originals: tuple[Original, ...]


@dataclass(frozen=True, slots=True)
class Trouble:
    """``what`` happens at ``when``; ``amount`` is a time or a number, as it needs one."""

    when: float
    what: str
    amount: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """``late`` is how many seconds more than six days it may take."""

    retry: tuple[float, ...]
    each: int
    total: int
    outgoing: str
    messages: Sequence[Message]
    hosts: Mapping[str, Sequence[str]]
    moods: Mapping[str, Moods]
    troubles: Sequence[Trouble]
    late: float


def plan_of(seed: int) -> Plan:
    """The plan of a seed."""
    random = Random(f"plan {seed}")
    each = random.randint(1, 3)
    messages = _messages(random)
    hosts = {
        domain: [f"mx{n}.{domain}" for n in range(random.randint(1, 2))] for domain in (*DOMAINS, SENDERS_DOMAIN)
    }
    outgoing = "hold" if random.random() < 0.1 else "on"
    troubles = [*_troubles(random, messages)]
    if outgoing == "hold":
        troubles.append(Trouble(random.uniform(0, 2 * DAY), "restart", 30.0))
    return Plan(
        retry=random.choice(RETRIES),
        each=each,
        total=random.randint(each, 6),
        outgoing=outgoing,
        messages=messages,
        hosts=hosts,
        moods=_moods(random, hosts),
        troubles=troubles,
        late=sum(-one.amount for one in troubles if one.what == "clock" and one.amount < 0),
    )


def _messages(random: Random) -> list[Message]:
    bursts = [random.uniform(0, 6 * HOUR) for _ in range(random.randint(1, 3))]
    messages = []
    for _ in range(random.randint(1, 6)):
        when = random.choice(bursts) + random.choice((0.0, 0.0, random.uniform(0, 30)))
        sender = random.choice(_SENDERS)
        path = Mailbox.parse(sender) if sender else NULL
        envelope = Envelope(path, ret=random.choice((None, "FULL", "HDRS")), listener="mx")
        originals = tuple(_original(random) for _ in range(random.choice((1, 1, 2, 3, 5))))
        messages.append(Message(when, envelope, originals))
    return sorted(messages, key=lambda one: one.when)


def _original(random: Random) -> Original:
    elsewhere = f"u{random.randrange(3)}@{random.choice(DOMAINS)}"
    name = random.choice(_LOCAL) if random.random() < 0.3 else elsewhere
    return Original(Mailbox.parse(name), random.choice(_NOTIFY))


def _moods(random: Random, hosts: Mapping[str, Sequence[str]]) -> dict[str, Moods]:
    moods = {"local": Moods([(0.0, random.choice(("good", "good", "slow", "busy"))), (DAY, "good")])}
    for domain, names in hosts.items():
        moods[domain] = Moods([(0.0, "good")])
        if random.random() < 0.15:
            begins = random.uniform(0, 8 * HOUR)
            ends = begins + random.uniform(0, DAY)
            moods[domain] = Moods(
                [(0.0, "good"), (begins, random.choice(("silent", "unknown", "null"))), (ends, "good")]
            )
        for name in names:
            spells = [(0.0, random.choice((*MOODS, "mixed", "good")))]
            spells += [(random.uniform(0, 3 * DAY), random.choice((*MOODS,))) for _ in range(random.randrange(3))]
            if domain == SENDERS_DOMAIN:
                spells = [one for one in spells if one[0] < 1.5 * DAY] + [(1.5 * DAY, "good")]
            moods[name] = Moods(sorted(spells))
    return moods


def _troubles(random: Random, messages: Sequence[Message]) -> list[Trouble]:
    def some(most: int) -> range:
        return range(random.randrange(most + 1))

    def soon() -> float:
        """Where something happens: shortly after a message came; or at any time."""
        if random.random() < 0.7:
            return random.choice(messages).when + random.choice(
                (0.0, random.uniform(0, 5), random.uniform(0, 4000))
            )
        return random.uniform(0, 5 * DAY)

    troubles = [Trouble(soon(), "crash", random.randrange(12)) for _ in some(4)]
    for _ in some(2):
        begins = soon()
        troubles += [Trouble(begins, "disk", random.randrange(4)), Trouble(begins + HOUR, "disk fine")]
    if random.random() < 0.1:
        begins = soon()
        troubles += [Trouble(begins, "disk fails"), Trouble(begins + random.uniform(0, 60), "disk fine")]
    if random.random() < 0.25:
        troubles.append(Trouble(random.uniform(0, 3 * DAY), "clock", random.choice((YEAR, -DAY))))
    troubles += [Trouble(soon(), random.choice(("release", "retry", "remove"))) for _ in some(3)]
    troubles += [Trouble(min(soon(), 3 * DAY), "hold") for _ in some(2)]
    # More than once, because the process may be away, or the disk full.
    troubles += [Trouble(random.uniform(3 * DAY, 4 * DAY), "release all") for _ in range(3)]
    troubles += [Trouble(soon(), "restart", random.choice((0.0, 1.0, 30.0))) for _ in some(1)]
    troubles += [Trouble(soon(), "rest", random.choice((0.0, 1.0, 600.0))) for _ in some(1)]
    return sorted(troubles, key=lambda one: one.when)
