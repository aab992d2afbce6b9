"""Mail addresses: what is accepted, what it means, how it is written again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.smtp.address import NULL, AddressError, Domain, Mailbox, NonAsciiError, parse_path

GOOD = {
    "anna@example.org": ("anna", "example.org"),
    "Anna@Example.ORG": ("Anna", "example.org"),
    "a.b+c=d/e'f@x.example": ("a.b+c=d/e'f", "x.example"),
    "a@b": ("a", "b"),
    "a@1.2.3": ("a", "1.2.3"),
    "a@a-b.example": ("a", "a-b.example"),
    '"a b"@x.example': ("a b", "x.example"),
    '"a@b"@x.example': ("a@b", "x.example"),
    '"a\\"b\\\\c"@x.example': ('a"b\\c', "x.example"),
    '".."@x.example': ("..", "x.example"),
    '"plain"@x.example': ("plain", "x.example"),
    "a@[192.0.2.1]": ("a", "[192.0.2.1]"),
    "a@[ipv6:2001:DB8:0::1]": ("a", "[IPv6:2001:db8::1]"),
    "a@[X-tag:any@thing]": ("a", "[x-tag:any@thing]"),
    "ünal@bücher.example": ("ünal", "xn--bcher-kva.example"),
    "a@BÜCHER.example": ("a", "xn--bcher-kva.example"),
    "用户@例え.example": ("用户", "xn--r8jz45g.example"),
    "a" * 64 + "@x.example": ("a" * 64, "x.example"),
}
BAD = [
    "", "@", "a", "a@", "@b", "a b@c", "a@b c", ".a@b", "a.@b", "a..b@c", "a@b@c", "a@-b", "a@b-", "a@b.-c",
    "a@.b",
    "a@b.", "a@b..c", "a@b_c", '""@x', '"a@x', '"a"b@x', '"a"', '"a\\', "a@[1.2.3]", "a@[1.2.3.4",
    "a@[1.2.3.256]",
    "a@[IPv6:]", "a@[IPv6:fe80::1%eth0]", "a@[:x]", "a@[tag:]", "a@[ta.g:x]", "a@[tag:a[b]", "a@1.2.3.4]",
    "a\r@b", "a\n@b", "a\0@b", "a@b\r\n", '"a\rb"@x', '"a\0b"@x', '"a\tb"@x', "a\x7f@b", "a\x80@b", '"\x85"@b',
    "＠@b", "a＠b", "a@b＠c", "ａ@b", "a@ｂ.example", "a\u202e@b", "a\u200b@b", "a\u00a0b@c", "\ud800@b",
    "a@☃.example", "a@xn--\u00fc.example\u3002b", "a" * 65 + "@b", "ü" * 33 + "@b", "a@" + "b" * 64,
    "a@" + ".".join(["b" * 50] * 6), "<a@b>", "a,b@c", "a:b@c", "a;b@c", "(x)a@b",
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_good_addresses_are_read_and_written_again(text):
    mailbox = Mailbox.parse(text)
    local, domain = GOOD[text]
    assert mailbox == Mailbox(local, Domain(domain))
    assert Mailbox.parse(str(mailbox)) == mailbox
    assert mailbox.wire() == str(mailbox).encode()
    assert not mailbox.is_null


@pytest.mark.parametrize("text", BAD)
def test_bad_addresses_are_refused_with_a_sentence(text):
    with pytest.raises(AddressError) as refusal:
        Mailbox.parse(text)
    assert len(str(refusal.value)) > 10
    assert str(refusal.value).isprintable()


def test_quoted_and_unquoted_forms_are_equal():
    assert Mailbox.parse('"anna"@x.example') == Mailbox.parse("anna@X.EXAMPLE")
    assert str(Mailbox.parse('"anna"@x.example')) == "anna@x.example"
    assert str(Mailbox("a b", Domain("x"))) == '"a b"@x'


def test_u_label_and_a_label_are_equal():
    assert Domain.parse("bücher.example") == Domain.parse("XN--BCHER-KVA.example")
    assert Domain.parse("bu\u0308cher.example") == Domain.parse("bücher.example")


def test_postmaster_without_domain():
    assert Mailbox.parse("PostMaster") == Mailbox("postmaster", None)
    assert str(Mailbox("postmaster", None)) == "postmaster"


def test_null():
    assert NULL.is_null
    assert str(NULL) == ""
    assert not Mailbox("postmaster", None).is_null


def test_ascii_tells_who_needs_smtputf8():
    assert Mailbox.parse("a@bücher.example").ascii
    assert not Mailbox.parse("ü@example.org").ascii
    with pytest.raises(NonAsciiError):
        Mailbox.parse("ü@example.org", smtputf8=False)
    with pytest.raises(NonAsciiError):
        Mailbox.parse("a@bücher.example", smtputf8=False)


def test_literals_are_known_as_such():
    assert Domain.parse("[192.0.2.1]").is_literal
    assert not Domain.parse("x.example").is_literal


@pytest.mark.parametrize(
    ("text", "mailbox", "rest"),
    [
        ("<>", NULL, ""),
        ("<> SIZE=1", NULL, "SIZE=1"),
        ("<a@b>", Mailbox.parse("a@b"), ""),
        ("<a@b> X Y", Mailbox.parse("a@b"), "X Y"),
        ("<POSTMASTER>", Mailbox("postmaster", None), ""),
        ('<"a>b"@c> X', Mailbox("a>b", Domain("c")), "X"),
        ('<"a\\">b"@c>', Mailbox('a">b', Domain("c")), ""),
        ('<a@b> X="', Mailbox.parse("a@b"), 'X="'),
        ("<@x,@y.example:a@b>", Mailbox.parse("a@b"), ""),
        ("<@[IPv6:::1]:a@b> Z", Mailbox.parse("a@b"), "Z"),
    ],
)
def test_paths(text, mailbox, rest):
    assert parse_path(text, smtputf8=False) == (mailbox, rest)


@pytest.mark.parametrize(
    "text",
    ["", "a@b", "<a@b", "<a@b>X", "< a@b>", "<a@b >", "<@x>", "<@:a@b>", "<@x,y:a@b>", "<@x:>", "<<a@b>>", '<"a>'],
)
def test_bad_paths(text):
    with pytest.raises(AddressError):
        parse_path(text, smtputf8=False)


def test_a_path_in_utf8_needs_smtputf8():
    assert parse_path("<ü@b>", smtputf8=True)[0] == Mailbox("ü", Domain("b"))
    for path in ("<ü@b>", "<@ü:a@b>"):
        with pytest.raises(AddressError):
            parse_path(path, smtputf8=False)


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_a_refusal(text):
    try:
        mailbox = Mailbox.parse(text)
    except AddressError:
        return
    assert Mailbox.parse(str(mailbox)) == mailbox
    assert str(mailbox).isprintable()


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=64))
def test_every_printable_local_part_survives_quoting(local):
    mailbox = Mailbox(local, Domain("x.example"))
    assert Mailbox.parse(str(mailbox)) == mailbox
    assert parse_path(f"<{mailbox}> X", smtputf8=False) == (mailbox, "X")
