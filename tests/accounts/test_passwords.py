"""bcrypt is called exactly once where it must be, and not at all for what is remembered."""

import bcrypt
import pytest

from mailserver.accounts import passwords
from mailserver.accounts.database import AccountError
from mailserver.accounts.passwords import PasswordVerifier, hash_password
from mailserver.interfaces import PoolFull
from mailserver.threads import inline


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now

    def wall(self):
        raise AssertionError("a memory of seconds is not measured by the wall clock")


class Counting:
    """bcrypt.checkpw, with a count of the calls."""

    def __init__(self):
        self.calls = []

    def __call__(self, password, stored):
        self.calls.append((password, stored))
        return bcrypt.checkpw(password, stored)


def result(deferred):
    out = []
    deferred.addBoth(out.append)
    if hasattr(out[0], "raiseException"):
        out[0].raiseException()
    return out[0]


STORED = hash_password("secret", 4)
OTHER = hash_password("other", 4)


@pytest.fixture
def kit():
    check, clock = Counting(), Clock()
    return check, clock, PasswordVerifier(inline, clock, 4, 300, check)


REFUSALS = [
    (STORED, b"wrong"),
    (STORED, b""),
    (STORED, b"secret\0"),
    (None, b"secret"),
    (None, b""),
    (None, b"x" * 100),
    (STORED, b"x" * 73),
    (STORED, b"secret" + b"x" * 100_000),
]


@pytest.mark.parametrize(("stored", "password"), REFUSALS, ids=range(len(REFUSALS)))
def test_each_refusal_costs_one_call_every_time(kit, stored, password):
    check, _, verifier = kit
    for count in (1, 2):
        assert result(verifier.verify(stored, password, b"alice")) is False
        assert len(check.calls) == count


def test_a_password_that_begins_with_a_whole_one_of_72_octets_is_refused():
    check = Counting()
    verifier = PasswordVerifier(inline, Clock(), 4, 300, check)
    stored = hash_password("x" * 72, 4)
    assert result(verifier.verify(stored, b"x" * 73, b"alice")) is False
    assert result(verifier.verify(stored, b"x" * 72, b"alice")) is True
    assert len(check.calls) == 2


def test_unknown_accounts_cost_what_known_ones_do(kit):
    check, _, verifier = kit
    result(verifier.verify(None, b"guess", b"nobody"))
    [(_, stored)] = check.calls
    assert stored.startswith(b"$2b$04$")
    assert len(stored) == len(STORED)


def test_a_success_is_remembered_for_its_time(kit):
    check, clock, verifier = kit
    for _ in range(3):
        assert result(verifier.verify(STORED, b"secret", b"alice"))
    assert len(check.calls) == 1
    clock.now = 299.9
    assert result(verifier.verify(STORED, b"secret", b"alice"))
    assert len(check.calls) == 1
    clock.now = 300.0
    assert result(verifier.verify(STORED, b"secret", b"alice"))
    assert len(check.calls) == 2


def test_what_is_remembered_is_all_that_was_checked(kit):
    check, _, verifier = kit
    assert result(verifier.verify(STORED, b"secret", b"alice"))
    assert not result(verifier.verify(STORED, b"wrong", b"alice"))
    assert not result(verifier.verify(OTHER, b"secret", b"alice"))
    assert result(verifier.verify(STORED, b"secret", b"bob"))
    assert not result(verifier.verify(None, b"secret", b"alice"))
    assert len(check.calls) == 5


def test_remember_nothing():
    check = Counting()
    verifier = PasswordVerifier(inline, Clock(), 4, 0, check)
    assert result(verifier.verify(STORED, b"secret", b"alice"))
    assert result(verifier.verify(STORED, b"secret", b"alice"))
    assert len(check.calls) == 2


def test_memory_is_bounded(kit, monkeypatch):
    monkeypatch.setattr(passwords, "REMEMBERED", 2)
    check, _, verifier = kit
    for name in (b"a", b"b", b"c", b"b", b"c"):
        assert result(verifier.verify(STORED, b"secret", name))
    assert len(check.calls) == 3
    assert result(verifier.verify(STORED, b"secret", b"a"))
    assert len(check.calls) == 4


def test_no_password_is_kept_in_memory(kit):
    _, _, verifier = kit
    assert result(verifier.verify(STORED, b"secret", b"alice"))
    assert all(b"secret" not in memory and len(memory) == 32 for memory in verifier._until)


def test_a_full_pool_passes_through():
    def threads(kind, function, *args):
        assert kind == "password"
        raise PoolFull("200 waiting")

    verifier = PasswordVerifier(threads, Clock(), 4, 300)
    with pytest.raises(PoolFull):
        result(verifier.verify(STORED, b"secret", b"alice"))


@pytest.mark.parametrize("text", ["x", "pass word", "ü" * 36, "x" * 72])
def test_what_can_be_set_can_be_used(text):
    assert bcrypt.checkpw(text.encode(), hash_password(text, 4).encode())


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "empty"), ("x" * 73, "73 octets in UTF-8, at most 72"), ("ü" * 37, "74 octets"), ("a\0b", "NUL")],
)
def test_what_cannot_be_set(text, words):
    with pytest.raises(AccountError, match=words):
        hash_password(text, 4)
