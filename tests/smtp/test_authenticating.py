"""AUTH at the server core: every malformed form of every mechanism at each step, and what is left of it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from mailserver.smtp import events, replies, states
from mailserver.smtp.limits import Profile
from mailserver.smtp.reply import Reply, reply
from mailserver.smtp.sasl import PASSWORD_MECHANISMS, PasswordCredentials
from mailserver.smtp.scram import NAME, ScramLogin, ScramSha256
from mailserver.smtp.server import OutOfTurn, ServerCore
from tests.smtp.test_scram import (
    CLIENT_FINAL,
    CLIENT_FIRST,
    KEYS,
    MALFORMED_FINAL,
    MALFORMED_FIRST,
    OURS,
    SERVER_FINAL,
    SERVER_FIRST,
    USER,
)

MECHANISMS = {**PASSWORD_MECHANISMS, NAME: lambda: ScramSha256(lambda: OURS)}
PROFILE = Profile("mx.example.org", mechanisms=("PLAIN", "LOGIN", NAME), auth_required=True)
BAD_LOGIN = reply(535, (5, 7, 8), "Authentication credentials invalid")


def coded(octets: bytes) -> bytes:
    return b64encode(octets)


class Session:
    """A core after EHLO over TLS, and a holder that answers at once: one password is right, one user has keys."""

    def __init__(self, profile: Profile = PROFILE) -> None:
        self.core = ServerCore(profile, MECHANISMS, tls=True)
        self.seen: list[Any] = []
        self.find: Callable[[events.FindKeys], Any] = lambda event: KEYS
        self.output = b""
        self._turn()
        self.say(b"EHLO client.example")

    def say(self, *lines: bytes) -> list[int]:
        """The codes of the replies; lines get their CRLF."""
        self.core.receive(b"".join(line + b"\r\n" for line in lines))
        return self._turn()

    def _turn(self) -> list[int]:
        while (event := self.core.next_event()) is not None:
            self.seen.append(event)
            if isinstance(event, events.FindKeys):
                found = self.find(event)
                self.core.answer(found) if isinstance(found, Reply) else self.core.found(found)
            elif self.core.asking:
                self.core.answer(self._answer(event))
        self.output = self.core.data_to_send()
        return [int(line[:3]) for line in self.output.splitlines() if line[3:4] != b"-"]

    @staticmethod
    def _answer(event: Any) -> Reply:
        if not isinstance(event, events.Authenticate):
            return replies.OK
        who = event.credentials
        good = who.proved if isinstance(who, ScramLogin) else who == PasswordCredentials(b"", b"anna", b"secret")
        return replies.AUTHENTICATED if good else BAD_LOGIN

    @property
    def asked(self) -> list[str]:
        """The questions after EHLO, by name."""
        return [type(event).__name__ for event in self.seen[2:]]


def nothing_is_left(session: Session) -> None:
    """A failed or cancelled AUTH leaves the session as it was (RFC 4954 §4)."""
    core = session.core
    assert core.state is states.READY
    assert not core.authenticated
    assert session.say(b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>", b"DATA") == [530, 530, 530]
    assert session.say(coded(b"\0anna\0secret")) == [500]
    assert session.say(b"AUTH PLAIN " + coded(b"\0anna\0secret")) == [235]
    assert core.authenticated


# How each mechanism comes to each of its steps, and how many replies that takes.
STEPS = {
    "plain": [b"AUTH PLAIN"],
    "login name": [b"AUTH LOGIN"],
    "login password": [b"AUTH LOGIN", coded(b"anna")],
    "login password, name at once": [b"AUTH LOGIN " + coded(b"anna")],
    "scram first": [b"AUTH SCRAM-SHA-256"],
    "scram final": [b"AUTH SCRAM-SHA-256", coded(CLIENT_FIRST)],
    "scram final, first at once": [b"AUTH SCRAM-SHA-256 " + coded(CLIENT_FIRST)],
    "scram end": [b"AUTH SCRAM-SHA-256 " + coded(CLIENT_FIRST), coded(CLIENT_FINAL)],
}
BAD_LINES = {
    "cancelled": (b"*", 501),
    "not base64": (b"what?", 501),
    "padding missing": (b"YW5uYQ", 501),
    "padding doubled": (b"YW5uYQ===", 501),
    "a space before": (b" YW5uYQ==", 501),
    "a space behind": (b"YW5uYQ== ", 501),
    "equals": (b"=", 501),
    "eight bits": (b"\xc3\xbc", 501),
    "NUL": (b"YW5u\0YQ==", 501),
    "a command": (b"MAIL FROM:<a@b.example>", 501),
    "too long": (b"A" * 12_287, 500),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("bad", BAD_LINES)
def test_a_bad_line_at_each_step(step: str, bad: str) -> None:
    session, (line, code) = Session(), BAD_LINES[bad]
    lines = STEPS[step]
    assert session.say(*lines, line) == [334] * len(lines) + [code]
    nothing_is_left(session)


@pytest.mark.parametrize("step", ["plain", "login name", "scram first", "scram final"])
def test_an_empty_line_is_an_empty_response(step: str) -> None:
    session, lines = Session(), STEPS[step]
    assert session.say(*lines, b"") == [334] * len(lines) + [501]
    nothing_is_left(session)


def test_an_empty_password_is_a_wrong_one() -> None:
    session = Session()
    assert session.say(*STEPS["login password"], b"") == [334, 334, 535]
    nothing_is_left(session)


@pytest.mark.parametrize("bare", [b"\n", b"YQ==\n"])
def test_a_bare_lf_ends_the_exchange(bare: bytes) -> None:
    session = Session()
    session.say(b"AUTH PLAIN")
    session.core.receive(bare)
    assert session._turn() == [500]
    nothing_is_left(session)


@pytest.mark.parametrize("message", MALFORMED_FIRST, ids=repr)
def test_malformed_first_messages_of_scram(message: bytes) -> None:
    for lines in ([b"AUTH SCRAM-SHA-256 " + (coded(message) or b"=")], [b"AUTH SCRAM-SHA-256", coded(message)]):
        session = Session()
        assert session.say(*lines) == [334] * (len(lines) - 1) + [501]
        assert session.asked == []
        nothing_is_left(session)


@pytest.mark.parametrize("message", MALFORMED_FINAL, ids=repr)
def test_malformed_final_messages_of_scram(message: bytes) -> None:
    session = Session()
    assert session.say(*STEPS["scram final"], coded(message)) == [334, 334, 501]
    assert session.asked == ["FindKeys"]
    nothing_is_left(session)


@pytest.mark.parametrize(
    "response",
    [b"", b"anna", b"\0anna", b"\0\0secret", b"\0anna\0secret\0", b"anna\0secret", b"\0\0\0", b"\0\0"],
    ids=repr,
)
def test_malformed_plain(response: bytes) -> None:
    for lines in ([b"AUTH PLAIN " + (coded(response) or b"=")], [b"AUTH PLAIN", coded(response)]):
        session = Session()
        assert session.say(*lines) == [334] * (len(lines) - 1) + [501]
        assert session.asked == []
        nothing_is_left(session)


@pytest.mark.parametrize(
    ("response", "credentials"),
    [
        (b"anna\0anna\0secret", PasswordCredentials(b"anna", b"anna", b"secret")),
        (b"boss\0anna\0secret", PasswordCredentials(b"boss", b"anna", b"secret")),
        (b"\0an\r\nna\0secret", PasswordCredentials(b"", b"an\r\nna", b"secret")),
        (b"\0anna\x1b[2J\0secret", PasswordCredentials(b"", b"anna\x1b[2J", b"secret")),
        (b"\0\xff\0\xfe", PasswordCredentials(b"", b"\xff", b"\xfe")),
        (b"\0anna\0", PasswordCredentials(b"", b"anna", b"")),
    ],
    ids=repr,
)
def test_whatever_is_well_formed_is_for_the_checker_to_judge(
    response: bytes, credentials: PasswordCredentials
) -> None:
    session = Session()
    assert session.say(b"AUTH PLAIN " + coded(response)) == [535]
    assert session.seen[-1] == events.Authenticate("PLAIN", credentials)
    nothing_is_left(session)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"AUTH", 501),
        (b"AUTH ", 501),
        (b"AUTH =", 504),
        (b"AUTH *", 504),
        (b"AUTH CRAM-MD5", 504),
        (b"AUTH SCRAM-SHA-1", 504),
        (b"AUTH SCRAM-SHA-256-PLUS", 504),
        (b"AUTH PLAIN  AA==", 501),
        (b"AUTH PLAIN AA== AA==", 501),
        (b"AUTH PLAIN *", 501),
        (b"AUTH SCRAM-SHA-256 =", 501),
        (b"AUTH LOGIN =", 501),
        (b"auth plain " + coded(b"\0anna\0secret"), 235),
        (b"AUTH PLAIN " + b"A" * 12_288, 500),
    ],
)
def test_forms_of_the_command(line: bytes, code: int) -> None:
    session = Session()
    assert session.say(line) == [code]
    if code != 235:
        nothing_is_left(session)


def test_a_line_of_12288_octets_is_read() -> None:
    # RFC 4954 §4: the line with its CRLF.
    session = Session()
    begin = b"AUTH PLAIN "
    room = (12_288 - 2 - len(begin)) // 4 * 3
    long = b"\0anna\0" + b"x" * (room - 6)
    assert len(begin + coded(long)) + 2 > 12_280
    assert session.say(begin + coded(long)) == [535]
    assert session.say(b"AUTH PLAIN", coded(b"\0anna\0" + b"x" * 9_000)) == [334, 535]
    nothing_is_left(session)


def test_a_login_by_scram() -> None:
    session = Session()
    assert session.say(b"AUTH SCRAM-SHA-256 " + coded(CLIENT_FIRST)) == [334]
    assert session.output == b"334 " + coded(SERVER_FIRST) + b"\r\n"
    assert session.say(coded(CLIENT_FINAL)) == [334]
    # RFC 4954 §4: what the server has to say at the end is a challenge, answered by an empty line.
    assert session.output == b"334 " + coded(SERVER_FINAL) + b"\r\n"
    assert not session.core.authenticated
    assert session.say(b"") == [235]
    assert session.core.authenticated
    assert session.seen[2:] == [
        events.FindKeys(NAME, USER),
        events.Authenticate(NAME, ScramLogin(b"", USER, KEYS, proved=True)),
    ]


def test_a_wrong_proof_is_asked_about_and_says_nothing_more() -> None:
    session = Session()
    wrong = CLIENT_FINAL.replace(b"p=dH", b"p=dI")
    assert session.say(*STEPS["scram final"], coded(wrong)) == [334, 334, 535]
    assert b"v=" not in session.output
    assert session.asked == ["FindKeys", "Authenticate"]
    nothing_is_left(session)


def test_pipelined_lines_wait_for_the_keys() -> None:
    session = Session()
    core = session.core
    core.receive(
        b"AUTH SCRAM-SHA-256 " + coded(CLIENT_FIRST) + b"\r\n" + coded(CLIENT_FINAL) + b"\r\n\r\nNOOP\r\n"
    )
    assert core.next_event() == events.FindKeys(NAME, USER)
    assert core.next_event() is None
    assert (core.asking, core.busy, core.waiting_for[0]) == (True, True, "answer")
    core.found(KEYS)
    assert session._turn() == [334, 334, 235, 250]


@pytest.mark.parametrize("code", [454, 535, 421])
def test_keys_refused(code: int) -> None:
    session = Session()
    session.find = lambda event: reply(code, None, "no")
    assert session.say(b"AUTH SCRAM-SHA-256 " + coded(CLIENT_FIRST)) == [code]
    if code == 421:
        assert session.core.state is states.CLOSED
    else:
        nothing_is_left(session)


def test_a_positive_reply_is_no_answer_to_the_question_for_keys() -> None:
    core = Session().core
    core.receive(b"AUTH SCRAM-SHA-256 " + coded(CLIENT_FIRST) + b"\r\n")
    assert isinstance(core.next_event(), events.FindKeys)
    for answer in (replies.AUTHENTICATED, replies.OK, replies.SEND_CONTENT):
        with pytest.raises(OutOfTurn):
            core.answer(answer)
    assert core.asking
    core.found(KEYS)
    assert not core.authenticated


def test_keys_are_no_answer_to_another_question() -> None:
    session = Session()
    with pytest.raises(OutOfTurn):
        session.core.found(KEYS)
    session.core.receive(b"AUTH PLAIN " + coded(b"\0anna\0secret") + b"\r\n")
    assert isinstance(session.core.next_event(), events.Authenticate)
    with pytest.raises(OutOfTurn):
        session.core.found(KEYS)


def test_auth_again_is_503() -> None:
    for line in (b"AUTH PLAIN " + coded(b"\0anna\0secret"), b"AUTH SCRAM-SHA-256", b"AUTH LOGIN"):
        session = Session()
        session.say(b"AUTH PLAIN " + coded(b"\0anna\0secret"))
        assert session.say(line) == [503]
        assert session.core.authenticated
        assert session.core.state is states.READY


@pytest.mark.parametrize("rcpt", [[], [b"RCPT TO:<c@d.example>"]])
def test_auth_in_a_transaction_is_503_and_the_transaction_goes_on(rcpt: list[bytes]) -> None:
    session = Session(Profile("mx.example.org", mechanisms=("PLAIN", NAME)))
    assert session.say(b"MAIL FROM:<a@b.example> AUTH=<>", *rcpt) == [250] * (1 + len(rcpt))
    state = session.core.state
    assert session.say(b"AUTH PLAIN", b"AUTH SCRAM-SHA-256 " + coded(CLIENT_FIRST)) == [503, 503]
    assert session.core.state is state
    assert session.say(b"RCPT TO:<c@d.example>") == [250]


@pytest.mark.parametrize(
    ("parameter", "code"),
    [
        (b"AUTH=<>", 250),
        (b"AUTH=anna@example.org", 250),
        (b"AUTH=e+3Dmc2@example.com", 250),
        (b"AUTH=", 501),
        (b"AUTH", 501),
        (b"AUTH=nobody", 501),
        (b"AUTH=<anna@example.org>", 501),
        (b"AUTH=a+0D+0Ab@example.org", 501),
        (b"AUTH=a+00b@example.org", 501),
        (b"AUTH=e+3dmc2@example.com", 501),
        (b"AUTH=+@example.org", 501),
        (b"AUTH=<> AUTH=<>", 501),
    ],
)
def test_the_parameter_of_mail(parameter: bytes, code: int) -> None:
    """RFC 4954 §5. Whoever a client says it speaks for is not believed: it is as if it had said ``<>``."""
    session = Session(Profile("mx.example.org", mechanisms=("PLAIN",)))
    assert session.say(b"MAIL FROM:<a@b.example> " + parameter) == [code]


def test_the_parameter_is_not_known_where_there_is_no_auth() -> None:
    assert Session(Profile("mx.example.org")).say(b"MAIL FROM:<a@b.example> AUTH=<>") == [555]


def test_attempts_are_errors_and_end_the_session() -> None:
    session = Session()
    codes = [code for _ in range(25) for code in session.say(b"AUTH PLAIN " + coded(b"\0anna\0wrong"))]
    assert codes.count(535) == PROFILE.limits.error_limit
    assert codes[-1] == 421
    assert session.core.state is states.CLOSED
