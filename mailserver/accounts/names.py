"""The values of the account store, and how text becomes them.

An account's and an alias's local-part is folded to lower case: ``Alice@`` and ``alice@`` are one. Raises
:class:`~mailserver.accounts.database.AccountError` for text that is no address, no domain name, or no name for
a mailbox of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from unicodedata import normalize

from mailserver.accounts.database import AccountError
from mailserver.smtp.address import Domain, Mailbox
from mailserver.smtp.scram import ScramKeys

# RFC 2142 §4 and §5, RFC 5321 §4.5.1: these exist in every domain.
ROLES = frozenset({"postmaster", "abuse", "hostmaster"})
# An alias leads to at most so many addresses.
TARGETS = 1000


@dataclass(frozen=True, slots=True)
class HostedDomain:
    """A domain of ours. ``postmaster`` is the account it names; None means its first account."""

    domain: Domain
    postmaster: Mailbox | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """A person or program that has a Maildir and may log in. ``created`` is wall-clock seconds.

    ``send_as_any``: the account may use any sender, not only its own addresses. ``keys`` are those of its
    password for SCRAM; where there are none, ``password_hash`` is of the password as it was typed, else of the
    prepared one.
    """

    mailbox: Mailbox
    password_hash: str
    send_as_any: bool
    created: float
    keys: ScramKeys | None = None


@dataclass(frozen=True, slots=True)
class Alias:
    """An address that stands for others, here or elsewhere."""

    mailbox: Mailbox
    targets: tuple[Mailbox, ...]


def address_of(address: str | Mailbox) -> Mailbox:
    """A mailbox from text, the case of its local-part kept. Raises AccountError for what is no address."""
    try:
        mailbox = Mailbox.parse(address) if isinstance(address, str) else address
    except ValueError as error:
        raise AccountError(f"{address!r} is not a mail address ({error}); write it as name@domain") from error
    if not mailbox.local_part or mailbox.domain is None or not mailbox.domain.name:
        raise AccountError(f"{str(address)!r} is not a mail address; write it as name@domain")
    return mailbox


def folded(mailbox: Mailbox) -> Mailbox:
    """The form in which a mailbox of ours is kept."""
    local_part = mailbox.local_part.lower()
    if not local_part.isascii():
        local_part = normalize("NFC", local_part)
    return mailbox if local_part == mailbox.local_part else Mailbox(local_part, mailbox.domain)


def plain(mailbox: Mailbox) -> Mailbox:
    """The mailbox without a sub-address: ``user+detail`` is ``user`` (RFC 5233 §1)."""
    return Mailbox(mailbox.local_part.partition("+")[0], mailbox.domain)


def own_address_of(address: str | Mailbox) -> Mailbox:
    """The address of an account or alias of ours, folded."""
    return folded(address_of(address))


def check_name(mailbox: Mailbox) -> None:
    """Refuse a local-part that cannot name a directory."""
    name = mailbox.local_part
    # The name becomes a part of the Maildir's path.
    if "/" in name or name.startswith(".") or not name.isprintable():
        raise AccountError(
            f"{str(mailbox)!r} cannot be an account: the name has a slash or a first dot; choose another"
        )


def domain_of(name: str | Domain) -> Domain:
    """A domain from text. Raises AccountError for what is none."""
    try:
        domain = Domain.parse(name) if isinstance(name, str) else name
    except ValueError as error:
        raise AccountError(f"{name!r} is not a domain name ({error}); write it as example.org") from error
    if not domain.name or domain.is_literal:
        raise AccountError(f"{str(name)!r} is not a domain name; write it as example.org")
    return domain


def new_domain_of(name: str | Domain) -> Domain:
    """A domain that mail could be sent to. Raises AccountError for what is none."""
    domain = domain_of(name)
    labels = domain.name.split(".")
    if labels[-1].isdigit():
        raise AccountError(f"{domain} is an address and no domain name; write it as example.org")
    for label in labels:
        if label.startswith("xn--") and not _is_a_label(label):
            raise AccountError(f"{domain} is not a domain name ({label} is no A-label); use its own letters")
    return domain


def _is_a_label(label: str) -> bool:
    try:
        return not label.encode("ascii").decode("idna").isascii()
    except UnicodeError:
        return False


def check_alias(mailbox: Mailbox) -> None:
    """Refuse what looks like more than the one address that it would be."""
    if mailbox.local_part == "*":
        raise AccountError(
            f"{mailbox} would be an alias for all names of {mailbox.domain}, which this server does not have yet;"
            " give each name its own alias"
        )
