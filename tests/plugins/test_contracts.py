"""The contract suites: our own parts keep them, and a part that breaks a promise is found."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailserver.accounts import MailRealm, StaticDirectory
from mailserver.interfaces import ICheck, IDirectory, IResolver, IRouter, IStateStore, ITransport
from mailserver.message import CONTINUE, Found, Resolution, Route, Stage
from mailserver.message.outcome import delivered
from mailserver.net.resolver import NameNotFound
from mailserver.queue.router import Router
from mailserver.reception.delivery import SpoolDelivery
from mailserver.settings import Settings
from mailserver.testing.contracts import (
    CheckContract,
    CheckerContract,
    DirectoryContract,
    RealmContract,
    ResolverContract,
    RouterContract,
    StateStoreContract,
    TransportContract,
)
from mailserver.transport import FunctionTransport


@implementer(ICheck)
class ReadsAll:
    name, stages = "reads-all", tuple(Stage)

    async def check(self, stage, context):
        if context.content is not None:
            await context.content.read()
        return CONTINUE


class TestCheck(CheckContract):
    def make(self):
        return ReadsAll()


class TestTransport(TransportContract):
    def make(self):
        return FunctionTransport(lambda mail: None)


@implementer(ITransport)
class Batches:
    def deliver(self, attempt):
        return {recipient: delivered() for recipient in attempt.recipients}

    async def deliver_many(self, attempts):
        return {attempt: self.deliver(attempt) for attempt in attempts}


class TestBatches(TransportContract):
    def make(self):
        return Batches()


class TestDirectory(DirectoryContract):
    def make(self):
        return StaticDirectory([self.known])


class TestRouter(RouterContract):
    def make(self):
        settings = Settings(instance="i", host_name="mx.mail.test")
        return Router(settings, StaticDirectory(["anna@example.org"]))


@implementer(IResolver)
class Table:
    async def query(self, name, kind):
        if name == "nowhere.example":
            raise NameNotFound(name)
        return {"MX": [(10, "mx.example.org")], "A": ["192.0.2.1"]}.get(kind, [])


class TestResolver(ResolverContract):
    def make(self):
        return Table()


class TestChecker(CheckerContract):
    def make(self):
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        checker.addUser(self.username, self.password)
        return checker


class TestRealm(RealmContract):
    def make(self):
        return MailRealm(lambda identity: SpoolDelivery(identity, None))


# What is broken is found.


class _Answers:
    def __init__(self, answer):
        self._answer = answer


@implementer(ICheck)
class Check(_Answers):
    name, stages = "check", (Stage.CONTENT,)

    def check(self, stage, context):
        return self._answer(context)


@implementer(ITransport)
class Transport(_Answers):
    def deliver(self, attempt):
        return self._answer(attempt)


@implementer(IDirectory)
class Directory(_Answers):
    def resolve(self, mailbox):
        return self._answer(mailbox)


@implementer(IRouter)
class ARouter(_Answers):
    def route(self, recipient, envelope):
        return self._answer(recipient)


@implementer(IResolver)
class Resolver(_Answers):
    def query(self, name, kind):
        return self._answer(name)


@implementer(IStateStore)
class Forgetful(_Answers):
    def get(self, key):
        return None

    def put(self, key, value, seconds):
        return None

    def add(self, key, amount, seconds):
        return amount

    def forget(self, key):
        return None


def write_over(context):
    context.content.discard()
    return CONTINUE


BROKEN = [
    (CheckContract, Check, lambda context: None, "test_every_answer_is_a_verdict"),
    (CheckContract, Check, lambda context: context.header.decode(), "test_every_answer_is_a_verdict"),
    (CheckContract, Check, write_over, "test_the_content_is_left_as_it_was"),
    (CheckContract, Check, lambda context: Deferred(), "test_every_answer_is_a_verdict"),
    (TransportContract, Transport, lambda attempt: {}, "test_every_recipient_has_an_outcome"),
    (TransportContract, Transport, lambda attempt: None, "test_an_attempt_may_come_again"),
    (
        TransportContract,
        Transport,
        lambda attempt: dict.fromkeys(attempt.recipients, True),
        "test_one_recipient_of_several_may_be_left",
    ),
    (DirectoryContract, Directory, lambda mailbox: None, "test_no_address_makes_it_raise"),
    (
        DirectoryContract,
        Directory,
        lambda mailbox: Resolution(Found.ALIAS, mailbox),
        "test_a_known_mailbox_is_an_account_or_an_alias",
    ),
    (
        RouterContract,
        ARouter,
        lambda recipient: Route("", ""),
        "test_every_answer_is_a_route_an_outcome_or_nothing",
    ),
    (RouterContract, ARouter, lambda recipient: object(), "test_equal_recipients_have_equal_routes"),
    (ResolverContract, Resolver, lambda name: [], "test_a_name_that_does_not_exist_says_so"),
    (ResolverContract, Resolver, lambda name: ["mx.example.org"], "test_mx_records_are_pairs"),
    (StateStoreContract, Forgetful, None, "test_a_value_is_kept_until_its_time_is_over"),
    (StateStoreContract, Forgetful, None, "test_a_counter_ends_after_its_first_time"),
]


@pytest.mark.parametrize(
    ("contract", "kind", "answer", "test"), BROKEN, ids=lambda one: getattr(one, "__name__", "")
)
def test_a_broken_promise_is_found(contract, kind, answer, test):
    class Tried(contract):
        def make(self):
            return kind(answer)

        def advance(self, seconds):
            """No time."""

    with pytest.raises((AssertionError, UnicodeDecodeError, TypeError, ValueError)):
        getattr(Tried(), test)()


def test_contexts_are_of_every_sort():
    made = CheckContract()
    for stage in Stage:
        contexts = list(made.contexts(stage))
        assert len(contexts) > 1
        with contextlib.suppress(AttributeError):
            assert replace(contexts[0], helo="x") is not contexts[0]
    assert {str(context.reverse_path) for context in made.contexts(Stage.MAIL)} >= {"", "anna@example.org"}
