"""Challengers of ``twisted.mail`` as mechanisms of AUTH.

A challenger is a callable that makes an ``IChallengeResponse``, which is the credentials object too:
``PLAINCredentials``, ``LOGINCredentials``, ``CramMD5Credentials`` and their like, unchanged. What the client
answers in a form that the credentials object refuses is 501; a challenger that cannot be made, or makes
something else, is 454 and a log event that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mailserver.reception.asking import BadAnswer, Hook
from mailserver.smtp import replies, sasl
from mailserver.smtp.command import Refused

# What these send is the password itself, or a token as good as one. SCRAM sends neither, but who listens could try
# passwords on what he heard, and who stands between could take it off the list: it waits for TLS as they do.
SHOWN_IN_CLEAR = frozenset({"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "SCRAM-SHA-256"})

Blame = Callable[[Hook, BaseException], None]


class ChallengeMechanism:
    """One exchange with a challenger."""

    def __init__(self, make: Callable[[], Any], blame: Blame) -> None:
        self._make = make
        self._blame = blame
        self._credentials: Any = None

    def start(self, initial: bytes | None) -> sasl.Step:
        self._credentials = self._ask(Hook(self._make), self._make)
        challenge = self._challenge()
        # With an initial response the first challenge is nobody's business, but the object counts it.
        return challenge if initial is None else self.respond(initial)

    def respond(self, data: bytes) -> sasl.Step:
        credentials = self._credentials
        try:
            credentials.setResponse(data)
        except Exception:
            # Whatever it raises: it took a stranger's octets apart and did not find what it wants.
            return sasl.Malformed()
        if self._ask(Hook(credentials, "moreChallenges"), self._has_more):
            return self._challenge()
        return sasl.Finished(credentials)

    def _challenge(self) -> sasl.Challenge:
        challenge = self._ask(Hook(self._credentials, "getChallenge"), self._next_challenge)
        return sasl.Challenge(challenge)

    def _next_challenge(self) -> bytes:
        challenge = self._credentials.getChallenge()
        if isinstance(challenge, str):
            challenge = challenge.encode()
        if not isinstance(challenge, bytes):
            raise BadAnswer(f"it answered a {type(challenge).__name__}: octets are needed")
        return challenge

    def _has_more(self) -> bool:
        return bool(self._credentials.moreChallenges())

    def _ask(self, hook: Hook, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            self._blame(hook, error)
            raise Refused(replies.NO_CAPACITY) from None


def mechanisms_of(
    challengers: Mapping[Any, Callable[[], Any]], blame: Blame
) -> dict[str, Callable[[], sasl.Mechanism]]:
    """Mechanisms by name in capitals; the keys of `challengers` are octets or text."""

    def mechanism(make: Callable[[], Any]) -> Callable[[], sasl.Mechanism]:
        return lambda: ChallengeMechanism(make, blame)

    return {
        (key.decode("ascii") if isinstance(key, bytes) else key).upper(): mechanism(make)
        for key, make in challengers.items()
    }
