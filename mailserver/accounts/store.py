"""The account store: domains, accounts and aliases in ``accounts.db``.

Reads answer at once, on the reactor thread. Changes are awaited: they are durable when the awaitable is done,
and each refusal is an :class:`~mailserver.accounts.database.AccountError` with a sentence that says what to do.

Guarantees: local-parts are kept folded to lower case, so that ``Alice@`` and ``alice@`` are one account; an
account and an alias never share an address; nothing is removed that an alias still points to, so an alias
cannot come to lead nowhere, or round in a circle.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from mailserver.accounts import changes
from mailserver.accounts.database import AccountError, Database
from mailserver.accounts.names import (
    Account,
    Alias,
    HostedDomain,
    address_of,
    check_alias,
    check_name,
    domain_of,
    folded,
    new_domain_of,
    own_address_of,
)
from mailserver.accounts.passwords import Kept
from mailserver.interfaces import IClock, IThreads
from mailserver.smtp.address import Domain, Mailbox
from mailserver.smtp.scram import ITERATIONS, ScramKeys

_ACCOUNT = (
    "SELECT local_part, name, password_hash, send_as_any, created, salt, iterations, stored_key, server_key"
    " FROM account JOIN domain ON domain.id = account.domain LEFT JOIN scram ON scram.account = account.id"
)
_SALT = 16


class AccountStore:
    """Domains, accounts and aliases. Open it before use; close it last."""

    def __init__(self, path: Path, threads: IThreads, clock: IClock) -> None:
        self._database = Database(path, threads)
        self._clock = clock
        self._secret = b""

    def open(self) -> None:
        """Open the database, making it where there is none. Raises AccountError."""
        self._database.open()
        self._secret = self._database.rows("SELECT octets FROM secret WHERE name = 'salts' LIMIT 1")[0][0]

    def close(self) -> None:
        """Close the database. May be called twice."""
        self._database.close()

    @property
    def generation(self) -> int:
        """Another number after every change: what was looked up under an earlier one is stale."""
        return self._database.generation

    def domains(self) -> list[HostedDomain]:
        """All domains, in the order in which they were added."""
        rows = self._database.rows(
            "SELECT domain.name, account.local_part FROM domain"
            " LEFT JOIN account ON account.id = domain.postmaster ORDER BY domain.id LIMIT 100000"
        )
        return [
            HostedDomain(Domain(name), Mailbox(local, Domain(name)) if local else None) for name, local in rows
        ]

    def hosts(self, domain: Domain) -> bool:
        """Is `domain` one of ours?"""
        return bool(self._database.rows("SELECT 1 FROM domain WHERE name = ? LIMIT 1", domain.name))

    def first_domain(self) -> Domain | None:
        """The domain that was added first."""
        rows = self._database.rows("SELECT name FROM domain ORDER BY id LIMIT 1")
        return Domain(rows[0][0]) if rows else None

    def postmaster(self, domain: Domain) -> Mailbox | None:
        """Who gets the mail of the role addresses of `domain`: the account it names, or its first."""
        rows = self._database.rows(
            "SELECT account.local_part FROM domain JOIN account ON account.domain = domain.id"
            " WHERE domain.name = ? ORDER BY account.id IS NOT domain.postmaster, account.id LIMIT 1",
            domain.name,
        )
        return Mailbox(rows[0][0], domain) if rows else None

    def accounts(self, domain: str | Domain | None = None) -> list[Account]:
        """All accounts, or those of one domain, oldest first."""
        name = None if domain is None else self._hosted(domain).name
        rows = self._database.rows(
            f"{_ACCOUNT} WHERE ?1 IS NULL OR name = ?1 ORDER BY account.id LIMIT 100000",
            name,
        )
        return [_account(row) for row in rows]

    def account(self, mailbox: Mailbox) -> Account | None:
        """The account with exactly this address (case of the local-part aside)."""
        if mailbox.domain is None:
            return None
        rows = self._database.rows(
            f"{_ACCOUNT} WHERE name = ? AND local_part = ? LIMIT 1",
            mailbox.domain.name,
            folded(mailbox).local_part,
        )
        return _account(rows[0]) if rows else None

    def salt(self, name: str | Mailbox) -> bytes:
        """The salt of the SCRAM keys of a name, be there such an account or not. It comes from the name and a
        secret of this store: one that changed with the password would tell who exists."""
        octets = name.encode() if isinstance(name, str) else folded(name).wire()
        return self._made_from(b"salt", octets)[:_SALT]

    def keys_of_nobody(self, name: str | Mailbox) -> ScramKeys:
        """Keys that no password has, for a name without keys: always the same, and like those of an account."""
        salt = self.salt(name)
        return ScramKeys(salt, ITERATIONS, self._made_from(b"stored", salt), self._made_from(b"server", salt))

    def _made_from(self, what: bytes, octets: bytes) -> bytes:
        if not self._secret:
            raise AccountError("the account store is not open")
        return hmac.digest(self._secret, what + b"\0" + octets, "sha256")

    def is_account(self, mailbox: Mailbox) -> bool:
        """Is there an account with exactly this address?"""
        return self.account(mailbox) is not None

    def sends_as_any(self, address: str) -> bool:
        """May the account use any sender?"""
        account = self.account(own_address_of(address))
        return account is not None and account.send_as_any

    def aliases(self, domain: str | Domain | None = None) -> list[Alias]:
        """All aliases, or those of one domain, oldest first."""
        name = None if domain is None else self._hosted(domain).name
        rows = self._database.rows(
            "SELECT local_part, name, mailbox FROM alias JOIN domain ON domain.id = alias.domain"
            " JOIN target ON target.alias = alias.id WHERE ?1 IS NULL OR name = ?1"
            " ORDER BY alias.id, position LIMIT 100000",
            name,
        )
        targets: dict[Mailbox, list[Mailbox]] = {}
        for local_part, domain_name, target in rows:
            targets.setdefault(Mailbox(local_part, Domain(domain_name)), []).append(Mailbox.parse(target))
        return [Alias(mailbox, tuple(found)) for mailbox, found in targets.items()]

    def alias_targets(self, mailbox: Mailbox) -> tuple[Mailbox, ...]:
        """Where the alias with exactly this address leads; empty where there is none."""
        if mailbox.domain is None:
            return ()
        rows = self._database.rows(
            "SELECT mailbox FROM target JOIN alias ON alias.id = target.alias"
            " JOIN domain ON domain.id = alias.domain"
            " WHERE name = ? AND local_part = ? ORDER BY position LIMIT 1000",
            mailbox.domain.name,
            folded(mailbox).local_part,
        )
        return tuple(Mailbox.parse(row[0]) for row in rows)

    def add_domain(self, name: str | Domain) -> Deferred[None]:
        """Host a domain from now on."""
        return self._database.write(changes.add_domain, new_domain_of(name))

    def remove_domain(self, name: str | Domain) -> Deferred[None]:
        """Stop hosting a domain; it must have neither accounts nor aliases."""
        return self._database.write(changes.remove_domain, domain_of(name))

    def set_postmaster(self, name: str | Domain, address: str | Mailbox | None) -> Deferred[None]:
        """Name the account that gets the mail of the role addresses; None means the first account."""
        return self._database.write(
            changes.set_postmaster, domain_of(name), None if address is None else own_address_of(address)
        )

    def add_account(
        self, address: str | Mailbox, password: str | Kept, send_as_any: bool = False
    ) -> Deferred[None]:
        """Make an account, with what `mailserver.accounts.passwords.keep_password` made of its password, or with
        a bcrypt hash alone: then its first login makes the rest."""
        mailbox = own_address_of(address)
        check_name(mailbox)
        return self._database.write(changes.add_account, mailbox, _kept(password), send_as_any, self._clock.wall())

    def remove_account(self, address: str | Mailbox) -> Deferred[None]:
        """Remove an account. Its Maildir stays where it is."""
        return self._database.write(changes.remove_account, own_address_of(address))

    def set_password(self, address: str | Mailbox, password: str | Kept) -> Deferred[None]:
        """Replace an account's password; logins remembered under the old one end with it."""
        return self._database.write(changes.set_password, own_address_of(address), _kept(password))

    def renew_password(self, account: Account, kept: Kept) -> Deferred[None]:
        """Keep the same password in another form. Nothing happens where the account's password has changed since
        `account` was read."""
        return self._database.write(changes.renew_password, account.mailbox, account.password_hash, kept)

    def add_alias(self, address: str | Mailbox, targets: Iterable[str | Mailbox]) -> Deferred[None]:
        """Make an alias for one or more addresses, here (they must exist) or elsewhere."""
        found = tuple(address_of(target) for target in targets)
        mailbox = own_address_of(address)
        check_alias(mailbox)
        return self._database.write(changes.add_alias, mailbox, found)

    def remove_alias(self, address: str | Mailbox) -> Deferred[None]:
        """Remove an alias."""
        return self._database.write(changes.remove_alias, own_address_of(address))

    def _hosted(self, domain: str | Domain) -> Domain:
        found = domain_of(domain)
        if not self.hosts(found):
            raise changes.unknown_domain(found)
        return found


def _account(row: Any) -> Account:
    local_part, domain, password_hash, send_as_any, created, *keys = row
    return Account(
        Mailbox(local_part, Domain(domain)), password_hash, bool(send_as_any), created,
        None if keys[0] is None else ScramKeys(*keys),
    )  # fmt: skip


def _kept(password: str | Kept) -> Kept:
    return password if isinstance(password, Kept) else Kept(password)
