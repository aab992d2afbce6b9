"""What is packed comes back equal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailserver.message import Envelope, Klass, Original, Outcome, Recipient, Scope, State, Status
from mailserver.smtp.address import Domain, Mailbox
from mailserver.spool import packing

# Surrogates too: what came over the wire as broken UTF-8 may be kept so.
words = st.text(st.characters(), max_size=20)
maybe = st.none() | words
mailboxes = st.builds(Mailbox, words, st.none() | st.builds(Domain, words))
notify = st.none() | st.frozensets(st.sampled_from(["NEVER", "SUCCESS", "FAILURE", "DELAY"]))
originals = st.builds(Original, mailboxes, notify, maybe, st.booleans())
recipients = st.builds(Recipient, st.integers(0, 1 << 40), mailboxes, st.lists(originals, max_size=3).map(tuple))
envelopes = st.builds(Envelope, mailboxes, maybe, maybe, maybe, st.booleans(), maybe, words, words, words, words)
statuses = st.builds(Status, st.sampled_from([2, 4, 5]), st.integers(0, 999), st.integers(0, 999))
outcomes = st.builds(
    Outcome, st.sampled_from(Klass), st.sampled_from(Scope), statuses, words, st.sampled_from(State), maybe, maybe,
    st.booleans(),
)  # fmt: skip


@given(envelopes)
def test_envelopes(envelope: Envelope) -> None:
    packed = packing.pack_envelope(envelope)
    assert packed.isascii()
    assert packing.unpack_envelope(packed) == envelope


@given(st.lists(recipients, max_size=4).map(tuple))
def test_recipients_packed_and_as_rows(some: tuple[Recipient, ...]) -> None:
    packed = packing.pack_recipients(some)
    assert packed.isascii()
    assert packing.unpack_recipients(packed) == some
    assert tuple(packing.join_recipient(*row) for row in packing.split_recipients(packed)) == some


@given(outcomes)
def test_outcomes(outcome: Outcome) -> None:
    assert packing.unpack_outcome(packing.pack_outcome(outcome)) == outcome


def test_every_field_of_an_envelope_is_packed() -> None:
    """A field added to the envelope must be added here too, at the end."""
    fields = ["reverse_path", "envid", "ret", "body", "smtputf8", "identity"]
    fields += ["listener", "client_address", "helo", "protocol"]
    assert list(Envelope.__slots__) == fields


def test_a_later_release_may_append() -> None:
    old = packing.pack_envelope(Envelope(Mailbox("a", None), helo="h"))
    assert old.startswith('[["a",null],null,null,null,false,null,"","","h",""]')
