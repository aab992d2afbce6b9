"""Commands about domains, accounts and aliases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mailserver.accounts.names import Account, new_domain_of, own_address_of
from mailserver.accounts.passwords import Kept, keep_password
from mailserver.admin.command import Argument, Command, ControlError
from mailserver.admin.instance import check_length
from mailserver.admin.tables import moment
from mailserver.admin.world import World
from mailserver.transport.maildir_path import Template


async def _domain_add(world: World, domain: str) -> dict[str, Any]:
    if world.store().hosts(name := new_domain_of(domain)):
        return {"domain": str(name), "said": f"{name} is there already"}
    maildir = world.settings.accounts.maildir
    if world.store().domains() and "{domain}" not in maildir:
        raise ControlError(
            f"accounts.maildir is {maildir!r}: accounts of the same name in two domains would share a Maildir; "
            "put {domain} into it, move the Maildirs that are there, and add the domain then"
        )
    await world.store().add_domain(domain)
    return {
        "domain": domain,
        "said": f"added the domain {domain}; now give it an account: mailserverctl account add NAME@{domain}",
    }


async def _domain_list(world: World) -> list[dict[str, Any]]:
    return [
        {
            "domain": str(hosted.domain),
            "accounts": len(world.store().accounts(hosted.domain)),
            "aliases": len(world.store().aliases(hosted.domain)),
            "postmaster": str(world.store().postmaster(hosted.domain) or ""),
        }
        for hosted in world.store().domains()
    ]


async def _domain_postmaster(world: World, domain: str, account: str | None) -> dict[str, Any]:
    await world.store().set_postmaster(domain, account)
    who = account or "its first account"
    return {"domain": domain, "postmaster": account, "said": f"mail for postmaster@{domain} goes to {who}"}


async def _domain_remove(world: World, domain: str) -> dict[str, Any]:
    await world.store().remove_domain(domain)
    return {"domain": domain, "said": f"removed the domain {domain}"}


async def _keep(world: World, address: str, password: str) -> Kept:
    check_length(password)
    salt = world.store().salt(own_address_of(address))
    cost = world.settings.accounts.bcrypt_cost
    kept: Kept = await world.threads("password", keep_password, password, cost, salt)
    return kept


async def _account_add(world: World, address: str, password: str, any_sender: bool) -> dict[str, Any]:
    await world.store().add_account(address, await _keep(world, address, password), any_sender)
    return {"address": address, "said": f"added the account {address}"}


async def _account_list(world: World, domain: str | None) -> list[dict[str, Any]]:
    return [_row(account) for account in world.store().accounts(domain)]


async def _account_show(world: World, address: str) -> dict[str, Any]:
    account = world.store().account(own_address_of(address))
    if account is None:
        raise ControlError(f"there is no account {address}; `account list` shows those that exist")
    return {**_row(account), "maildir": str(_maildir(world, account))}


def _maildir(world: World, account: Account) -> Path:
    return Template(world.settings.accounts.maildir, world.settings.instance).path(account.mailbox)


def _row(account: Account) -> dict[str, Any]:
    return {
        "address": str(account.mailbox),
        "any sender": account.send_as_any,
        "created": moment(account.created),
    }


async def _account_passwd(world: World, address: str, password: str) -> dict[str, Any]:
    await world.store().set_password(address, await _keep(world, address, password))
    return {"address": address, "said": f"the password of {address} is changed; it works at once"}


async def _account_remove(world: World, address: str) -> dict[str, Any]:
    await world.store().remove_account(address)
    return {"address": address, "said": f"removed the account {address}; its Maildir stays where it is"}


async def _alias_add(world: World, address: str, targets: list[str]) -> dict[str, Any]:
    await world.store().add_alias(address, targets)
    return {"address": address, "targets": targets, "said": f"mail for {address} goes to {', '.join(targets)}"}


async def _alias_list(world: World, domain: str | None) -> list[dict[str, Any]]:
    return [
        {"address": str(alias.mailbox), "targets": [str(target) for target in alias.targets]}
        for alias in world.store().aliases(domain)
    ]


async def _alias_remove(world: World, address: str) -> dict[str, Any]:
    await world.store().remove_alias(address)
    return {"address": address, "said": f"removed the alias {address}"}


_DOMAIN = Argument("domain", "the domain, as in example.org", positional=True, required=True)
_ADDRESS = Argument("address", "the address, as in anna@example.org", positional=True, required=True)
_OF_DOMAIN = Argument("domain", "show only this domain", positional=True)
_PASSWORD = Argument("password", "the password", secret=True, required=True)

COMMANDS = (
    Command(
        "domain add", "Take mail for a domain from now on.", _domain_add, (_DOMAIN,), "domain add example.org"
    ),
    Command("domain list", "Show the domains.", _domain_list, (), "domain list", who="viewer"),
    Command(
        "domain postmaster",
        "Say which account gets the mail for postmaster, abuse and hostmaster (by default the first account).",
        _domain_postmaster,
        (_DOMAIN, Argument("account", "the account; without it, the domain's first", positional=True)),
        "domain postmaster example.org anna@example.org",
    ),
    Command(
        "domain remove",
        "Take no more mail for a domain. It must have no accounts and no aliases.",
        _domain_remove,
        (_DOMAIN,),
        "domain remove example.org",
    ),
    Command(
        "account add",
        "Make an account: a Maildir, and a login for sending.",
        _account_add,
        (
            _ADDRESS,
            _PASSWORD,
            Argument("any_sender", "let the account send under any address", bool, default=False),
        ),
        "account add anna@example.org --generate",
    ),
    Command(
        "account list",
        "Show the accounts.",
        _account_list,
        (_OF_DOMAIN,),
        "account list example.org",
        who="viewer",
    ),
    Command(
        "account show",
        "Show one account, and where its mail is.",
        _account_show,
        (_ADDRESS,),
        "account show anna@example.org",
        who="viewer",
    ),
    Command(
        "account passwd",
        "Give an account a new password. The old one ends at once.",
        _account_passwd,
        (_ADDRESS, _PASSWORD),
        "account passwd anna@example.org",
        first="account show",
    ),
    Command(
        "account remove",
        "Remove an account. Its Maildir stays.",
        _account_remove,
        (_ADDRESS,),
        "account remove anna@example.org",
    ),
    Command(
        "alias add",
        "Make an address that stands for others, here or elsewhere.",
        _alias_add,
        (
            _ADDRESS,
            Argument("targets", "where its mail goes", positional=True, many=True, required=True),
        ),
        "alias add sales@example.org anna@example.org bob@elsewhere.example",
    ),
    Command("alias list", "Show the aliases.", _alias_list, (_OF_DOMAIN,), "alias list", who="viewer"),
    Command("alias remove", "Remove an alias.", _alias_remove, (_ADDRESS,), "alias remove sales@example.org"),
)
