"""Who a mailbox is: an account, an alias, nobody, or not ours at all.

In this order: an account of exactly that name; an alias of that name; for ``postmaster``, ``abuse`` and
``hostmaster`` the account that the domain names, by default its first (RFC 5321 §4.5.1, RFC 2142); for
``user+detail`` the account ``user`` (RFC 5233). The bare ``<postmaster>`` is that of the host's own domain
where that is ours, else of the first domain. Local-parts compare without case.

Answers come at once, from memory or by a read of some 50 µs, and never raise for an unknown mailbox.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from zope.interface import implementer

from mailserver.accounts.names import ROLES, folded, own_address_of, plain
from mailserver.accounts.store import AccountStore
from mailserver.interfaces import IDirectory
from mailserver.message.identity import Identity
from mailserver.message.resolution import Found, Resolution
from mailserver.smtp.address import Domain, Mailbox

# Beyond it everything is forgotten: a dictionary attack costs us look-ups, not memory.
REMEMBERED = 10_000
# As intake's bound on nested aliases.
DEPTH = 10


class _Names(Protocol):
    """What the rules above ask; every mailbox is folded."""

    def hosts(self, domain: Domain) -> bool: ...
    def first_domain(self) -> Domain | None: ...
    def postmaster(self, domain: Domain) -> Mailbox | None: ...
    def is_account(self, mailbox: Mailbox) -> bool: ...
    def alias_targets(self, mailbox: Mailbox) -> tuple[Mailbox, ...]: ...


def _resolve(names: _Names, asked: Mailbox, own: Domain | None) -> Resolution:
    mailbox = folded(asked)
    if mailbox.domain is None:
        return _bare(names, mailbox, own)
    if not names.hosts(mailbox.domain):
        return Resolution(Found.ELSEWHERE, asked)
    if names.is_account(mailbox):
        return Resolution(Found.ACCOUNT, mailbox)
    if targets := names.alias_targets(mailbox):
        return Resolution(Found.ALIAS, mailbox, targets)
    if mailbox.local_part in ROLES:
        return _account(names.postmaster(mailbox.domain), mailbox)
    base = plain(mailbox)
    return _account(base if base.local_part and names.is_account(base) else None, mailbox)


def _bare(names: _Names, mailbox: Mailbox, own: Domain | None) -> Resolution:
    domain = own if own and names.hosts(own) else names.first_domain()
    if mailbox.local_part != "postmaster" or domain is None:
        return Resolution(Found.UNKNOWN, mailbox)
    return _resolve(names, Mailbox("postmaster", domain), None)


def _account(account: Mailbox | None, mailbox: Mailbox) -> Resolution:
    return Resolution(Found.ACCOUNT, account) if account else Resolution(Found.UNKNOWN, mailbox)


@implementer(IDirectory)
class AccountDirectory:
    """The directory over an account store. `host_name` decides whose the bare ``<postmaster>`` is."""

    def __init__(self, store: AccountStore, host_name: str = "") -> None:
        self._store = store
        self._own = Domain.parse(host_name) if host_name else None
        self._answers: dict[Mailbox, Resolution] = {}
        self._generation = -1

    def resolve(self, mailbox: Mailbox) -> Resolution:
        """Who `mailbox` is, by the store as it is now."""
        # Read before the look-up: what a change overtakes is remembered under the old number, and dropped.
        generation = self._store.generation
        if generation != self._generation or len(self._answers) >= REMEMBERED:
            self._answers.clear()
            self._generation = generation
        answer = self._answers.get(mailbox)
        if answer is None:
            answer = self._answers[mailbox] = _resolve(self._store, mailbox, self._own)
        return answer

    def owns(self, identity: Identity, mailbox: Mailbox) -> bool:
        """May `identity` send as `mailbox`? Its own address, sub-addresses and role addresses, an alias that
        leads to it, and the null reverse-path (a receipt has it: RFC 8098 §3); a stranger owns nothing."""
        if identity.account is None:
            return False
        if identity.send_as_any or mailbox.is_null:
            return True
        return self._leads_to(mailbox, Mailbox.parse(identity.account), DEPTH)

    def _leads_to(self, mailbox: Mailbox, account: Mailbox, depth: int) -> bool:
        answer = self.resolve(mailbox)
        if answer.found is Found.ALIAS and depth:
            return any(self._leads_to(target, account, depth - 1) for target in answer.targets)
        return answer.found is Found.ACCOUNT and answer.mailbox == account


@implementer(IDirectory)
class StaticDirectory:
    """A fixed list of accounts, for an application; their domains are the local ones."""

    def __init__(self, addresses: Iterable[str | Mailbox]) -> None:
        self._accounts = dict.fromkeys(own_address_of(address) for address in addresses)
        self._postmasters: dict[Domain, Mailbox] = {}
        for mailbox in self._accounts:
            assert mailbox.domain is not None
            self._postmasters.setdefault(mailbox.domain, mailbox)

    def resolve(self, mailbox: Mailbox) -> Resolution:
        """Who `mailbox` is."""
        return _resolve(self, mailbox, None)

    def hosts(self, domain: Domain) -> bool:
        """Is `domain` that of an account?"""
        return domain in self._postmasters

    def first_domain(self) -> Domain | None:
        """The domain of the first account."""
        return next(iter(self._postmasters), None)

    def postmaster(self, domain: Domain) -> Mailbox | None:
        """The first account of `domain`."""
        return self._postmasters.get(domain)

    def is_account(self, mailbox: Mailbox) -> bool:
        """Is `mailbox` (folded) in the list?"""
        return mailbox in self._accounts

    def alias_targets(self, mailbox: Mailbox) -> tuple[Mailbox, ...]:
        """A fixed list has no aliases."""
        return ()
