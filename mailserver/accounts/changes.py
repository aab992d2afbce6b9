"""What changes in the account store: each function is one transaction, given the writing connection.

They run on a disk thread and raise :class:`~mailserver.accounts.database.AccountError` to refuse; then nothing
has changed.
"""

from __future__ import annotations

import sqlite3

from mailserver.accounts.database import AccountError
from mailserver.accounts.names import TARGETS, folded, plain
from mailserver.accounts.passwords import Kept
from mailserver.smtp.address import Domain, Mailbox
from mailserver.smtp.scram import ScramKeys


def no_domain(domain: Domain) -> AccountError:
    """The refusal of an address that needs a domain of ours."""
    return AccountError(f"{domain} is not a domain of this server; add it first (domain add {domain})")


def unknown_domain(domain: Domain) -> AccountError:
    """The refusal of what is done to a domain, or asked about it."""
    return AccountError(f"{domain} is not a domain of this server; `domain list` shows those that are")


def add_domain(connection: sqlite3.Connection, domain: Domain) -> None:
    """A new domain without accounts."""
    if _domain(connection, domain) is not None:
        raise AccountError(f"{domain} is a domain of this server already; nothing needs to be done")
    connection.execute("INSERT INTO domain (name) VALUES (?)", (domain.name,))


def remove_domain(connection: sqlite3.Connection, domain: Domain) -> None:
    """Only an empty one, so that nobody loses mail by a mistyped name."""
    number = _hosted(connection, domain)
    for table, what in (("account", "accounts"), ("alias", "aliases")):
        count = connection.execute(f"SELECT count(*) FROM {table} WHERE domain = ?", (number,)).fetchone()[0]  # noqa: S608 - names from this line
        if count:
            raise AccountError(f"{domain} still has {what} ({count}); remove them first")
    for alias, target in _pointers(connection, domain):
        raise AccountError(f"the alias {alias} leads to {target}; remove that alias first")
    connection.execute("DELETE FROM domain WHERE id = ?", (number,))


def set_postmaster(connection: sqlite3.Connection, domain: Domain, mailbox: Mailbox | None) -> None:
    """The domain names one of its own accounts, or none."""
    number = _hosted(connection, domain)
    account = None
    if mailbox is not None:
        account = _account(connection, mailbox)
        if mailbox.domain != domain:
            raise AccountError(f"{mailbox} is not in {domain}; name an account of that domain")
    connection.execute("UPDATE domain SET postmaster = ? WHERE id = ?", (account, number))


def add_account(
    connection: sqlite3.Connection, mailbox: Mailbox, kept: Kept, send_as_any: bool, created: float
) -> None:
    """A new account in a domain of ours."""
    number = _free(connection, mailbox)
    account = connection.execute(
        "INSERT INTO account (domain, local_part, password_hash, send_as_any, created) VALUES (?, ?, ?, ?, ?)",
        (number, mailbox.local_part, kept.password_hash, send_as_any, created),
    ).lastrowid
    _set_keys(connection, account, kept.keys)


def remove_account(connection: sqlite3.Connection, mailbox: Mailbox) -> None:
    """Not while an alias leads to it."""
    number = _account(connection, mailbox)
    _refuse_pointed_at(connection, mailbox)
    connection.execute("DELETE FROM account WHERE id = ?", (number,))


def set_password(connection: sqlite3.Connection, mailbox: Mailbox, kept: Kept) -> None:
    """Replace the hash and the keys."""
    number = _account(connection, mailbox)
    connection.execute("UPDATE account SET password_hash = ? WHERE id = ?", (kept.password_hash, number))
    _set_keys(connection, number, kept.keys)


def renew_password(connection: sqlite3.Connection, mailbox: Mailbox, before: str, kept: Kept) -> None:
    """Replace the hash and the keys by newer ones of the same password: only where the hash is still `before`,
    since the password may have been changed meanwhile."""
    number = _account(connection, mailbox)
    change = "UPDATE account SET password_hash = ? WHERE id = ? AND password_hash = ?"
    if connection.execute(change, (kept.password_hash, number, before)).rowcount:
        _set_keys(connection, number, kept.keys)


def _set_keys(connection: sqlite3.Connection, account: int | None, keys: ScramKeys | None) -> None:
    connection.execute("DELETE FROM scram WHERE account = ?", (account,))
    if keys is not None:
        connection.execute(
            "INSERT INTO scram (account, salt, iterations, stored_key, server_key) VALUES (?, ?, ?, ?, ?)",
            (account, keys.salt, keys.iterations, keys.stored_key, keys.server_key),
        )


def add_alias(connection: sqlite3.Connection, mailbox: Mailbox, targets: tuple[Mailbox, ...]) -> None:
    """Every target of ours must exist; those elsewhere keep the case of their local-part."""
    number = _free(connection, mailbox)
    found = tuple(dict.fromkeys(_target(connection, mailbox, target) for target in targets))
    if not found:
        raise AccountError(f"the alias {mailbox} leads nowhere; give at least one address")
    if len(found) > TARGETS:
        raise AccountError(f"the alias {mailbox} has {len(found)} addresses, {TARGETS} are allowed; divide it")
    alias = connection.execute(
        "INSERT INTO alias (domain, local_part) VALUES (?, ?)", (number, mailbox.local_part)
    ).lastrowid
    connection.executemany(
        "INSERT INTO target (alias, position, mailbox) VALUES (?, ?, ?)",
        [(alias, position, str(target)) for position, target in enumerate(found)],
    )


def remove_alias(connection: sqlite3.Connection, mailbox: Mailbox) -> None:
    """Not while another alias leads to it."""
    number = _alias(connection, mailbox)
    if number is None:
        raise AccountError(f"there is no alias {mailbox}; `alias list` shows those that exist")
    _refuse_pointed_at(connection, mailbox)
    connection.execute("DELETE FROM alias WHERE id = ?", (number,))


def _domain(connection: sqlite3.Connection, domain: Domain | None) -> int | None:
    if domain is None:
        return None
    row = connection.execute("SELECT id FROM domain WHERE name = ?", (domain.name,)).fetchone()
    return int(row[0]) if row else None


def _hosted(connection: sqlite3.Connection, domain: Domain) -> int:
    number = _domain(connection, domain)
    if number is None:
        raise unknown_domain(domain)
    return number


def _named(connection: sqlite3.Connection, table: str, mailbox: Mailbox) -> int | None:
    row = connection.execute(
        f"SELECT id FROM {table} WHERE domain = ? AND local_part = ?",  # noqa: S608 - the two callers below
        (_domain(connection, mailbox.domain), mailbox.local_part),
    ).fetchone()
    return int(row[0]) if row else None


def _alias(connection: sqlite3.Connection, mailbox: Mailbox) -> int | None:
    return _named(connection, "alias", mailbox)


def _account(connection: sqlite3.Connection, mailbox: Mailbox) -> int:
    number = _named(connection, "account", mailbox)
    if number is None:
        raise AccountError(f"there is no account {mailbox}; `account list` shows those that exist")
    return number


def _free(connection: sqlite3.Connection, mailbox: Mailbox) -> int:
    """The number of the mailbox's domain, where neither an account nor an alias has the address."""
    assert mailbox.domain is not None
    number = _domain(connection, mailbox.domain)
    if number is None:
        raise no_domain(mailbox.domain)
    for table, change in (("account", f", change its password (account passwd {mailbox})"), ("alias", "")):
        if _named(connection, table, mailbox) is not None:
            advice = f"remove it first{change}, or choose another name"
            raise AccountError(f"there is an {table} {mailbox} already; {advice}")
    return number


def _target(connection: sqlite3.Connection, alias: Mailbox, target: Mailbox) -> Mailbox:
    if _domain(connection, target.domain) is None:
        return target
    target = folded(target)
    known = target == alias or any(
        _named(connection, table, mailbox) is not None
        for table, mailbox in (("account", target), ("alias", target), ("account", plain(target)))
    )
    if not known:
        raise AccountError(f"{target} is neither an account nor an alias here; add it before what leads to it")
    if _leads_to(connection, target, alias):
        raise AccountError(f"the alias {alias} would lead to itself through {target}; give another address")
    return target


def _leads_to(connection: sqlite3.Connection, start: Mailbox, end: Mailbox) -> bool:
    seen, open_ends = {start}, [start]
    while open_ends and end not in seen:
        number = _alias(connection, open_ends.pop())
        rows = connection.execute("SELECT mailbox FROM target WHERE alias = ? LIMIT 1000", (number,))
        found = {folded(Mailbox.parse(row[0])) for row in rows} - seen
        seen |= found
        open_ends += found
    return end in seen


def _pointers(connection: sqlite3.Connection, domain: Domain | None) -> list[tuple[str, Mailbox]]:
    """Aliases that lead to an address in `domain`, each with that address, folded."""
    rows = connection.execute(
        "SELECT alias.local_part || '@' || domain.name, target.mailbox FROM target"
        " JOIN alias ON alias.id = target.alias JOIN domain ON domain.id = alias.domain LIMIT 100000"
    ).fetchall()
    found = [(alias, folded(Mailbox.parse(target))) for alias, target in rows]
    return [(alias, target) for alias, target in found if target.domain == domain]


def _refuse_pointed_at(connection: sqlite3.Connection, mailbox: Mailbox) -> None:
    for alias, target in _pointers(connection, mailbox.domain):
        if mailbox in (target, plain(target)):
            raise AccountError(f"the alias {alias} leads to {target}; remove that alias first")
