"""The certificates of a running server: read at the start, and again whenever their files were replaced.

:meth:`CertificateFiles.start` reads all of them, and raises what is wrong. From then on nothing raises: a file
that cannot be used leaves the certificate that was there in its place. The files are looked at every half minute,
and by :meth:`CertificateFiles.reload` at once. New certificates are for new connections; sessions go on.

Chain and key are two files, and whoever replaces them replaces one first: a problem is told only when it is
still there at the next look, and the files are the same ones. It is told once.

Reading, and making contexts, is work of the disk pool. Events: ``certificate.reloaded`` (name, expires) and
``certificate.refused`` (name, problem).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.python.failure import Failure

from mailserver.interfaces import IClock, IThreads
from mailserver.net.certificates import CertificateProblem, KeyPair
from mailserver.net.servertls import Contexts, ServerTls, usable_pair

# Seconds between two looks.
LOOK = 30.0


@dataclass(frozen=True, slots=True)
class Standing:
    """One certificate: what is in use, and how its files stand. ``problem`` says why they cannot be used, else "";
    until it ``stands``, they may be in the middle of being replaced."""

    name: str
    chain: Path
    key: Path
    pair: KeyPair
    seen: object
    problem: str = ""
    stands: bool = False

    def again(self, forced: bool) -> Standing:
        """As it is now. `forced` reads files that look unchanged, and takes a problem as it is."""
        seen = _seen(self.chain, self.key)
        if seen == self.seen and not self.problem and not forced:
            return self
        try:
            pair = usable_pair(self.chain, self.key)
        except CertificateProblem as problem:
            return replace(self, seen=seen, problem=str(problem), stands=forced or seen == self.seen)
        return replace(self, pair=pair, seen=seen, problem="", stands=False)

    @property
    def expires(self) -> str:
        """The day on which what is in use does."""
        return time.strftime("%Y-%m-%d", time.gmtime(self.pair.expires))


def _seen(*files: Path) -> object:
    """What changes when one of `files` is replaced or written."""
    seen = []
    for file in files:
        try:
            status = os.stat(file)
        except OSError as error:
            seen.append((error.errno, 0, 0))
        else:
            seen.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return seen


def _first(name: str, chain: Path, key: Path) -> Standing:
    # Before they are read: what is written meanwhile is seen at the next look.
    seen = _seen(chain, key)
    return Standing(name, chain, key, usable_pair(chain, key), seen)


def _all_again(standings: Mapping[str, Standing], forced: bool) -> dict[str, Standing]:
    return {name: one.again(forced) for name, one in standings.items()}


def _contexts(standings: Mapping[str, Standing], names: Sequence[str]) -> list[Contexts]:
    """For listeners whose own certificates have these `names`."""
    pairs = [one.pair for one in standings.values()]
    return [Contexts(standings[name].pair, pairs) for name in names]


class CertificateFiles:
    """All certificates of the settings; `files` has the chain and the key of each, by name. `log` has ``event``
    and ``failure``."""

    def __init__(self, files: Mapping[str, tuple[Path, Path]], threads: IThreads, clock: IClock, log: Any) -> None:
        self._files = files
        self._threads = threads
        self._clock = clock
        self._log = log
        self._standings: dict[str, Standing] = {}
        self._listeners: list[tuple[str, ServerTls]] = []
        self._looking = DeferredLock()
        self._next_look = 0.0

    def start(self) -> None:
        """Read them all. Raises CertificateProblem."""
        self._standings = {name: _first(name, *files) for name, files in self._files.items()}
        self._listeners.clear()
        self._next_look = self._clock.monotonic() + LOOK

    def listener(self, name: str) -> ServerTls:
        """The TLS of one more listener, whose own certificate has this `name`. Tickets are its alone."""
        tls = ServerTls(*_contexts(self._standings, [name]))
        self._listeners.append((name, tls))
        return tls

    def tick(self) -> None:
        """Once a second: look at the files, when it is time."""
        now = self._clock.monotonic()
        if self._standings and now >= self._next_look and not self._looking.locked:
            self._next_look = now + LOOK
            self._looking.run(self._look, False).addErrback(self._not_looked)

    async def reload(self) -> list[tuple[Standing, bool]]:
        """Look at once. How each stands, and whether it is another one than before. What raises here is a bug."""
        before = self._standings
        await self._looking.run(self._look, True)
        return [(one, one.pair != before[name].pair) for name, one in self._standings.items()]

    def status(self) -> Sequence[Mapping[str, Any]]:
        """A row per certificate."""
        return [
            {"name": one.name, "expires": one.expires, "problem": one.problem if one.stands else ""}
            for one in self._standings.values()
        ]

    def _look(self, forced: bool) -> Deferred[None]:
        return Deferred.fromCoroutine(self._look_at_all(forced))

    def _not_looked(self, failed: Failure) -> None:
        self._log.failure("certificates were not looked at", failed)

    async def _look_at_all(self, forced: bool) -> None:
        before, listeners = self._standings, list(self._listeners)
        found: dict[str, Standing] = await self._threads("disk", _all_again, before, forced)
        if any(one.pair != before[name].pair for name, one in found.items()):
            made = await self._threads("disk", _contexts, found, [name for name, _ in listeners])
            for (_, tls), contexts in zip(listeners, made, strict=True):
                tls.use(contexts)
        self._standings = found
        for name, one in found.items():
            self._tell(before[name], one)

    def _tell(self, before: Standing, now: Standing) -> None:
        if now.pair != before.pair:
            self._log.event("certificate.reloaded", name=now.name, expires=now.expires)
        if now.stands and (now.problem, True) != (before.problem, before.stands):
            self._log.event("certificate.refused", name=now.name, problem=now.problem)
