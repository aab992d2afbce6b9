"""Where a Maildir stands: no name leaves its place, no two mailboxes share one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.smtp.address import Domain, Mailbox
from mailserver.transport.maildir_path import Template, encode

INSTANCE = Path("/srv/mail")
DEFAULT = Template("maildirs/{domain}/{user}", INSTANCE)


def box(local: str, domain: str = "example.test") -> Mailbox:
    return Mailbox(local, Domain(domain))


@pytest.mark.parametrize(
    ("local", "place"),
    [
        ("alice", "alice"),
        ("a.b+c-d_9", "a.b+c-d_9"),
        ("..", "%2E."),
        (".", "%2E"),
        (".ssh", "%2Essh"),
        ("../../etc", "%2E.%2F..%2Fetc"),
        ("a/b", "a%2Fb"),
        ("nul\0", "nul%00"),
        ("Bob", "%42ob"),
        ("100%", "100%25"),
        ("jürgen", "j%C3%BCrgen"),
        ("a\nb", "a%0Ab"),
    ],
)
def test_a_local_part_is_one_part_of_the_path(local: str, place: str) -> None:
    assert DEFAULT.path(box(local)) == INSTANCE / "maildirs" / "example.test" / place


@given(st.text(min_size=1), st.text(min_size=1))
def test_encoding_is_one_to_one_and_stays_inside(one: str, other: str) -> None:
    encoded = encode(one)
    assert "/" not in encoded
    assert "\0" not in encoded
    assert not encoded.startswith(".")
    assert (encoded == encode(other)) == (one == other)


def test_an_absolute_template_leaves_the_instance() -> None:
    assert Template("/var/mail/{user}@{domain}", INSTANCE).path(box("a")) == Path("/var/mail/a@example.test")


@pytest.mark.parametrize(
    "template", ["../{user}", "a/../{user}", "{home}/{user}", "mail/{domain}", "m/{user}/{0}"]
)
def test_templates_that_are_refused(template: str) -> None:
    with pytest.raises(ValueError, match="Maildir template"):
        Template(template, INSTANCE)


@pytest.mark.parametrize("mailbox", [Mailbox("", Domain("example.test")), Mailbox("postmaster", None)])
def test_a_mailbox_without_a_place(mailbox: Mailbox) -> None:
    with pytest.raises(ValueError, match="empty name"):
        DEFAULT.path(mailbox)
