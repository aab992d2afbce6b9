"""The profile of a listener, as the client sees it."""

from math import inf

from mailserver.smtp import replies
from mailserver.smtp.limits import BASIC_EXTENSIONS, Patience, Profile, ServerLimits

LOGIN = Profile("mx.example.org", mechanisms=("PLAIN", "LOGIN"), starttls=True, auth_required=True)


def keywords(profile: Profile, tls: bool) -> tuple[str, ...]:
    return profile.hello(tls).lines[1:]


def test_what_is_offered():
    basic = ("8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES", "PIPELINING", "SIZE 26214400")
    assert keywords(Profile("x"), False) == keywords(Profile("x"), True) == basic
    assert keywords(LOGIN, False) == (*basic, "STARTTLS")
    assert keywords(LOGIN, True) == (*basic, "AUTH PLAIN LOGIN")
    clear = Profile("x", mechanisms=("PLAIN",), auth_in_clear=True)
    assert keywords(clear, False) == (*basic, "AUTH PLAIN")


def test_what_sends_no_password_may_go_in_clear():
    profile = Profile("x", mechanisms=("PLAIN", "CRAM-MD5"), safe_in_clear=frozenset({"CRAM-MD5"}))
    assert keywords(profile, False)[-1] == "AUTH CRAM-MD5"
    assert keywords(profile, True)[-1] == "AUTH PLAIN CRAM-MD5"
    assert profile.auth_waits_for_tls("plain AGFubmEAcHc=", tls=False)
    assert not profile.auth_waits_for_tls("plain AGFubmEAcHc=", tls=True)
    assert not profile.auth_waits_for_tls("cram-md5", tls=False)
    assert not profile.auth_waits_for_tls("NTLM", tls=False)
    assert LOGIN.auth_waits_for_tls("NTLM", tls=False)


def test_extensions_are_offered_by_name():
    more = Profile("x", extensions=frozenset({"SIZE", "DSN"}), limits=ServerLimits(max_message_size=5))
    assert keywords(more, False) == ("DSN", "SIZE 5")


def test_the_first_line_is_the_host_name_and_nothing_has_a_status():
    assert LOGIN.hello(True).wire.startswith(b"250-mx.example.org\r\n250-8BITMIME\r\n")
    assert LOGIN.helo.wire == b"250 mx.example.org\r\n"


def test_what_comes_before_mail():
    assert LOGIN.login_first(tls=False) is replies.STARTTLS_FIRST
    assert LOGIN.login_first(tls=True) is replies.AUTH_REQUIRED
    assert Profile("x", auth_required=True).login_first(tls=False) is replies.AUTH_REQUIRED


def test_auth_is_a_parameter_where_a_mechanism_is_offered():
    assert Profile("x").understood == BASIC_EXTENSIONS
    assert LOGIN.understood == BASIC_EXTENSIONS | {"AUTH"}


def test_patience_by_phase():
    patience = Patience(1, 2, 3)
    assert [patience.seconds(phase) for phase in ("greeting", "command", "data_block", "closing")] == [
        1,
        2,
        3,
        inf,
    ]
