"""The commands, in process, on a real account store and a recording spool."""

from dataclasses import replace

import bcrypt
import pytest
from twisted.internet.defer import Deferred

from mailserver.accounts.database import AccountError
from mailserver.accounts.store import AccountStore
from mailserver.admin.command import ControlError, Place
from mailserver.admin.control import COMMANDS, Control
from mailserver.admin.world import World
from mailserver.interfaces import MailServerError, SpoolFull
from mailserver.message.claim import Change, Settlement
from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.message.outcome import permanent, transient
from mailserver.message.state import State
from mailserver.queue.router import HOLD_REASON
from mailserver.settings.model import Accounts, Relay, Settings, StaticRoute
from mailserver.smtp.address import NULL, Mailbox
from mailserver.smtp.status import Status
from mailserver.spool.contract import Page, Query, QueuedMessage, QueuedRecipient
from mailserver.threads import inline

NOW = 1_700_000_000.0


class Clock:
    def wall(self):
        return NOW

    def monotonic(self):
        return 0.0


def queued(number, address, state, **more):
    mailbox = Mailbox.parse(address)
    return QueuedRecipient(Recipient(number, mailbox, (Original(mailbox),)), state, NOW + 60, **more)


LATE = replace(
    transient("connection refused", Status(4, 4, 1)), remote_mta="mx.remote.example", remote_reply="421 go away"
)
FIRST = QueuedMessage(
    "0" * 23,
    Envelope(Mailbox.parse("anna@example.org"), identity="anna@example.org", listener="submission"),
    NOW - 10,
    1234,
    (
        queued(0, "bob@remote.example", State.DEFERRED, attempts=2, destination="remote.example", last=LATE),
        queued(1, "eve@other.example", State.HELD, last=transient("outgoing mail is on hold")),
        queued(2, "joe@third.example", State.ACTIVE),
        queued(3, "done@fourth.example", State.FAILED, last=permanent("no")),
    ),
)
SECOND = QueuedMessage("1" * 23, Envelope(NULL), NOW, 99, (queued(0, "x@y.example", State.QUEUED),))


class Spool:
    """Listings of two messages, one a page, and a record of what was settled."""

    def __init__(self):
        self.messages = [FIRST, SECOND]
        self.settled = []
        self.full = False
        self.queries = []

    def find(self, query):
        self.queries.append(query)
        found = [m for m in self.messages if m.queue_id > query.after and query.queue_id in (None, m.queue_id)]
        return Page(tuple(found[:1]), found[0].queue_id if len(found) > 1 else "")

    def counts(self):
        return {"messages": 2, "queued": 1, "deferred": 1, "held": 1}

    def settle(self, settlements):
        if self.full:
            raise SpoolFull("no room on the disk")
        self.settled += settlements
        done = Deferred()
        done.callback([])
        return done


class Queue:
    kicks = 0

    def kick(self):
        self.kicks += 1


class Kit:
    def __init__(self, tmp_path, **more):
        self.store = AccountStore(tmp_path / "accounts.db", inline, Clock())
        self.store.open()
        self.spool, self.queue = Spool(), Queue()
        accounts = Accounts(bcrypt_cost=4, **more)
        settings = Settings(instance=tmp_path, host_name="mx.example.org", accounts=accounts)
        self.world = World(settings, self.store, self.spool, self.spool, Clock(), inline, self.queue, self.status)
        self.control = Control(self.world)

    def status(self):
        row = {"name": "mx", "role": "mx", "tls": "none", "wanted": ("*:25",), "listening": ["0.0.0.0:25"]}
        return {"uptime": 61, "blocked": None, "attempts": 3, "listeners": [{**row, "sessions": 4}]}

    def run(self, name, **arguments):
        out = []
        Deferred.fromCoroutine(self.control.run(name, arguments)).addBoth(out.append)
        if hasattr(out[0], "raiseException"):
            out[0].raiseException()
        return out[0]


@pytest.fixture
def kit(tmp_path):
    kit = Kit(tmp_path)
    yield kit
    kit.store.close()


def test_each_command_teaches():
    for command in COMMANDS:
        assert command.example.startswith(command.name)
        assert command.summary.endswith((".", ")."))
        assert command.who in ("administrator", "viewer")
        assert all(argument.help for argument in command.arguments)
    assert len({command.name for command in COMMANDS}) == len(COMMANDS)


def test_unknown_commands_and_arguments(kit):
    with pytest.raises(ControlError, match=r"there is no command 'make tea'; known are: init, status"):
        kit.run("make tea")
    with pytest.raises(ControlError, match="has no argument size"):
        kit.run("domain add", domain="example.org", size=1)


def test_a_domain_and_an_account_with_other_letters(kit):
    kit.run("domain add", domain="bücher.example")
    kit.run("account add", address="Jürgen@bücher.example", password="long password")
    kit.run("alias add", address="größe@bücher.example", targets=["jürgen@xn--bcher-kva.example"])
    shown = kit.run("account show", address="ju\u0308rgen@xn--bcher-kva.example")
    assert shown["address"] == "jürgen@xn--bcher-kva.example"
    assert shown["maildir"].endswith("/maildirs/xn--bcher-kva.example/j%C3%BCrgen")


def test_the_life_of_a_domain(kit):
    kit.run("domain add", domain="example.org")
    kit.run("account add", address="Anna@example.org", password="long password")
    kit.run("account add", address="bob@example.org", password="long password", any_sender=True)
    kit.run("alias add", address="sales@example.org", targets=["anna@example.org", "x@y.example"])
    kit.run("domain postmaster", domain="example.org", account="bob@example.org")
    assert kit.run("domain list") == [
        {"domain": "example.org", "accounts": 2, "aliases": 1, "postmaster": "bob@example.org"}
    ]
    first, second = kit.run("account list", domain="example.org")
    assert first == {"address": "anna@example.org", "any sender": False, "created": "2023-11-14 22:13:20 UTC"}
    assert second["any sender"] is True
    assert kit.run("alias list") == [
        {"address": "sales@example.org", "targets": ["anna@example.org", "x@y.example"]}
    ]
    kit.run("alias remove", address="sales@example.org")
    assert "Maildir stays" in kit.run("account remove", address="bob@example.org")["said"]
    kit.run("account remove", address="anna@example.org")
    kit.run("domain remove", domain="example.org")
    assert kit.run("domain list") == []


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("domain add", {"domain": "anna@example.org"}, "is not a domain name"),
        ("domain add", {"domain": "192.0.2.1"}, "is an address and no domain name"),
        ("domain add", {"domain": "[192.0.2.1]"}, "is not a domain name"),
        ("domain add", {"domain": "xn--\u00e9.example"}, "is not a domain name"),
        ("domain add", {"domain": "xn--0.example"}, "xn--0 is no A-label"),
        ("domain remove", {"domain": "none.example"}, "`domain list` shows those that are"),
        (
            "account add",
            {"address": "j\uff1crg@example.org", "password": "long password"},
            "invisible or ambiguous",
        ),
        (
            "account add",
            {"address": "j\u2028rg@example.org", "password": "long password"},
            "invisible or ambiguous",
        ),
        (
            "account add",
            {"address": "anna@example.org", "password": "long password"},
            r"\(account passwd anna@exam",
        ),
        ("account add", {"address": "bob@none.example", "password": "long password"}, "add it first"),
        (
            "account add",
            {"address": "bob@example.org", "password": "7 chars"},
            "has 7 characters; take at least 8",
        ),
        ("account passwd", {"address": "anna@example.org", "password": "7 chars"}, "take at least 8"),
        ("account show", {"address": "bob@example.org"}, "there is no account bob"),
        (
            "alias add",
            {"address": "*@example.org", "targets": ["anna@example.org"]},
            "give each name its own alias",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(kit, name, arguments, words):
    kit.run("domain add", domain="example.org")
    kit.run("account add", address="anna@example.org", password="long password")
    with pytest.raises(MailServerError, match=words):
        kit.run(name, **arguments)


def test_a_domain_that_is_there_already(kit):
    assert kit.run("domain add", domain="example.org")["said"].startswith("added the domain")
    assert kit.run("domain add", domain="Example.ORG")["said"] == "example.org is there already"
    assert "said" in kit.run("domain add", domain="xn--mnchen-3ya.example")


def test_account_show(kit, tmp_path):
    kit.run("domain add", domain="example.org")
    kit.run("account add", address="anna@example.org", password="long password")
    shown = kit.run("account show", address="Anna@example.org")
    assert (shown["address"], shown["maildir"]) == ("anna@example.org", f"{tmp_path}/maildirs/example.org/anna")


def test_passwords_are_hashed_with_the_cost_of_the_settings(kit):
    kit.run("domain add", domain="example.org")
    kit.run("account add", address="anna@example.org", password="old password")
    kit.run("account passwd", address="anna@example.org", password="new password")
    [account] = kit.store.accounts()
    assert account.password_hash.startswith("$2b$04$")
    assert bcrypt.checkpw(b"new password", account.password_hash.encode())


def test_refusals_of_the_store_pass_through(kit):
    with pytest.raises(AccountError, match="`domain list` shows those that are"):
        kit.run("account list", domain="example.org")
    with pytest.raises(AccountError, match="at most 72"):
        kit.run("account add", address="anna@example.org", password="x" * 73)


def test_a_server_without_accounts_of_its_own(kit):
    kit.control = Control(replace(kit.world, accounts=None))
    with pytest.raises(ControlError, match="keeps no accounts"):
        kit.run("account list")


def test_queue_list_says_where_each_recipient_stands_and_why(kit):
    reply = kit.run("queue list")
    assert reply["after"] == "0" * 23
    assert reply["said"] == "more follow: queue list --after " + "0" * 23
    late, held, active = reply["recipients"]
    assert late == {
        "queue id": "0" * 23,
        "sender": "<anna@example.org>",
        "recipient": "bob@remote.example",
        "state": "deferred",
        "destination": "remote.example",
        "attempts": 2,
        "next attempt": "2023-11-14 22:14:20 UTC",
        "why": "4.4.1 connection refused (mx.remote.example said: 421 go away)",
    }
    assert held["why"] == "held: 4.0.0 outgoing mail is on hold; `queue retry` lets it go once that is over"
    assert held["next attempt"] == ""
    assert active["why"] == "being tried now"
    last = kit.run("queue list", after="0" * 23)
    assert last["recipients"][0]["sender"] == "<>"
    assert last["recipients"][0]["why"] == "waits for its first attempt"
    assert "said" not in last


def test_queue_list_narrows(kit):
    kit.run("queue list", state="deferred", limit=5)
    assert kit.spool.queries == [Query(None, State.DEFERRED, "", "", 5)]
    for place in ("remote.example", "Remote.Example", "remote"):
        rows = kit.run("queue list", destination=place)["recipients"]
        assert [each["recipient"] for each in rows] == ["bob@remote.example"]
    rows = kit.run("queue list", destination="y.example")["recipients"]
    assert [each["recipient"] for each in rows] == ["x@y.example"]
    nothing = kit.run("queue list", destination="nowhere.example")
    assert (nothing["recipients"], nothing["said"]) == ([], "nothing in the queue is for nowhere.example")
    one = kit.run("queue list", destination="example", limit=1)
    assert one["said"] == "more follow: queue list --destination example --limit 1 --after " + "0" * 23
    with pytest.raises(ControlError, match="the destination is empty"):
        kit.run("queue list", destination="")
    rows = kit.run("queue list", state="held")["recipients"]
    assert [each["recipient"] for each in rows] == ["eve@other.example"]
    with pytest.raises(ControlError, match="a queued recipient is queued, active, deferred, held"):
        kit.run("queue list", state="delivered")
    with pytest.raises(ControlError, match="limit"):
        kit.run("queue list", limit=0)


def test_queue_list_of_nothing(kit):
    kit.spool.messages = []
    assert kit.run("queue list")["said"] == "the queue is empty"
    assert kit.run("queue list", state="held")["said"] == "nothing in the queue is held"
    assert kit.run("queue list", after="0" * 23)["said"] == "nothing more is in the queue"


def test_queue_show(kit):
    shown = kit.run("queue show", queue_id="0" * 23)
    assert shown["account"] == "anna@example.org"
    assert shown["size"] == 1234
    assert shown["recipients"][0]["for"] == ["bob@remote.example"]
    assert "sender" not in shown["recipients"][0]
    with pytest.raises(ControlError, match=f"no message {'2' * 23} is in the queue"):
        kit.run("queue show", queue_id="2" * 23)


@pytest.mark.parametrize("wrong", ["", " ", "0", "0" * 22, "0" * 24, "nope", "0" * 22 + "%"])
def test_an_empty_or_incomplete_queue_id_means_no_message_at_all(kit, wrong):
    for name, arguments in (
        ("queue show", {"queue_id": wrong}),
        ("queue retry", {"queue_ids": [wrong]}),
        ("queue remove", {"queue_ids": [wrong]}),
        ("queue remove", {"queue_ids": ["0" * 23, wrong]}),
    ):
        with pytest.raises(ControlError, match=r"is no queue id: it has 23 characters"):
            kit.run(name, **arguments)
    assert kit.spool.settled == []


def test_queue_retry_one_message(kit):
    reply = kit.run("queue retry", queue_ids=["0" * 23])
    changes = (Change(0, State.QUEUED, LATE, NOW), Change(1, State.QUEUED, FIRST.recipients[1].last, NOW))
    assert kit.spool.settled == [Settlement("0" * 23, changes, claimed=False)]
    assert reply == {"recipients": 2, "said": "2 recipients will be tried now"}
    assert kit.queue.kicks == 1


def test_what_is_on_hold_is_not_promised_an_attempt(kit):
    hold = transient(HOLD_REASON)
    message = replace(FIRST, recipients=(FIRST.recipients[0], replace(FIRST.recipients[1], last=hold)))
    kit.spool.messages = [message]
    [_, held] = kit.run("queue list")["recipients"]
    assert held["why"].endswith('it goes out when the server is started with outgoing = "on" in [relay]')
    relay = Relay(outgoing="hold")
    kit.control = Control(replace(kit.world, settings=replace(kit.world.settings, relay=relay)))
    reply = kit.run("queue retry", all=True)
    assert reply["said"] == (
        "one recipient will be tried now; one recipient still on hold until the server is started with"
        ' outgoing = "on" in [relay]'
    )
    assert (reply["recipients"], reply["on hold"]) == (1, 1)
    assert [change.number for change in kit.spool.settled[0].changes] == [0]
    # A static route is never held.
    routes = (StaticRoute(domain="other.example", host="127.0.0.1:26"),)
    kit.control = Control(replace(kit.world, settings=replace(kit.world.settings, relay=relay, routes=routes)))
    assert kit.run("queue retry", all=True) == {"recipients": 2, "said": "2 recipients will be tried now"}


def test_queue_retry_all_goes_through_all_pages(kit):
    assert kit.run("queue retry", all=True)["recipients"] == 3
    assert [settlement.queue_id for settlement in kit.spool.settled] == ["0" * 23, "1" * 23]


def test_queue_retry_needs_one_of_the_two(kit):
    for arguments in ({}, {"all": True, "queue_ids": ["0" * 23]}):
        with pytest.raises(ControlError, match="queue retry needs one of the two: QUEUE-IDS or --all"):
            kit.run("queue retry", **arguments)
    assert kit.spool.settled == []


def test_queue_remove(kit):
    reply = kit.run("queue remove", queue_ids=["0" * 23])
    [settlement] = kit.spool.settled
    assert [(change.number, change.state) for change in settlement.changes] == [
        (n, State.REMOVED) for n in (0, 1, 2)
    ]
    assert not settlement.claimed
    assert reply["said"] == "removed 3 recipients; no report goes to the sender"


def test_queue_remove_one_recipient(kit):
    kit.run("queue remove", queue_ids=["0" * 23], recipient="eve@other.example")
    assert [change.number for change in kit.spool.settled[0].changes] == [1]
    with pytest.raises(ControlError, match=r"no such recipient waits there: who@x\.example"):
        kit.run("queue remove", queue_ids=["0" * 23], recipient="who@x.example")


def test_nothing_is_removed_when_one_of_the_messages_is_unknown(kit):
    with pytest.raises(ControlError, match="no message"):
        kit.run("queue remove", queue_ids=["0" * 23, "2" * 23])
    assert kit.spool.settled == []


def test_viewers_only_look():
    looks = {"status", "queue list", "queue show", "domain list", "account list", "account show", "alias list"}
    assert {command.name for command in COMMANDS if command.who == "viewer"} == looks


def test_a_full_spool_is_said(kit):
    kit.spool.full = True
    with pytest.raises(SpoolFull, match="no room"):
        kit.run("queue remove", queue_ids=["0" * 23])


def test_status(kit):
    status = kit.run("status")
    assert status["listeners"] == [
        {"name": "mx", "role": "mx", "tls": "none", "desired": ["*:25"], "actual": ["0.0.0.0:25"], "sessions": 4}
    ]
    assert status["queue"]["deferred"] == 1
    assert (status["uptime"], status["started"]) == (61, "2023-11-14 22:12:19 UTC")
    assert status["new mail"] == "accepted"
    assert status["outgoing"] == "on"


def test_status_while_mail_is_refused(kit):
    kit.control = Control(replace(kit.world, status=lambda: {**kit.status(), "blocked": "no room"}))
    assert kit.run("status")["new mail"] == "refused for now: no room"


def test_a_stopped_instance_has_no_status(kit):
    kit.control = Control(replace(kit.world, status=None, queue=None))
    with pytest.raises(ControlError, match="not running"):
        kit.run("status")
    reply = kit.run("queue retry", all=True)
    assert reply == {"recipients": 3, "said": "3 recipients will be tried when the server starts"}


def test_commands_on_files_know_their_instance(kit):
    assert {command.name for command in COMMANDS if command.place is Place.FILES} == {
        "init", "config check", "certificate new", "plugin list", "plugin show", "plugin new",
    }  # fmt: skip
    with pytest.raises(ControlError, match="not empty"):
        kit.run("init", domain="example.org", account="anna", password="long password")


def test_two_domains_need_two_places_for_their_maildirs(tmp_path):
    kit = Kit(tmp_path, maildir="maildirs/{user}")
    kit.run("domain add", domain="example.org")
    with pytest.raises(ControlError, match=r"would share a Maildir; put \{domain\} into it"):
        kit.run("domain add", domain="example.net")
