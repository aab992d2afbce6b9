"""``sendmail`` with the signature and the meaning of ``twisted.mail.smtp.sendmail``, over our own client.

A program changes one import. The Deferred fires with ``(numOk, addresses)`` when one recipient at least got the
message, else it fails with the same exceptions of ``twisted.mail.smtp``; each has one of
:mod:`mailserver.transport.failures` as its ``__cause__``. As there: one connection for each call, STARTTLS with a
verified certificate where it is offered, a login where a password is given (CRAM-MD5, LOGIN, PLAIN in this order),
five more tries where no connection comes about, and a Deferred that may be cancelled.

Where it differs:

- A connection lost after the content went out is not tried again: the message might arrive twice.
- A refused certificate and a greeting of class 5 are not tried again. A certificate's failure says why.
- ``addresses`` has, for a recipient who got the message, the reply to the content instead of the one to RCPT.
- Waits end (RFC 5321 §4.5.3.2); stock waits for ever. Silence is an ``SMTPConnectError`` like a lost connection.
- A host without EHLO where TLS or a login is required: ``TLSRequiredError`` or ``AUTHRequiredError``.
- An address with non-ASCII characters is sent where the host offers SMTPUTF8.
- Line ends may be LF or CRLF (stock doubles the CR of CRLF), and a dot is never lost at a border of two reads.
- A file is read at once, at the call. Neither closes it.
- A recipient that is no address raises ``AddressError`` at the call, as a sender does.
- AUTH PLAIN names no authorization identity, where stock repeats the user.
- The name in EHLO is the machine's own, without a look-up in DNS. IPv6 addresses of the host are tried too.
- The Deferred fires when the connection is over, not before QUIT. The ``log`` of an exception has the replies to
  the recipients, without the dialogue.
"""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import parseaddr
from typing import Any

from twisted.internet.defer import Deferred
from twisted.mail import smtp

from mailserver.message.outcome import Klass, Outcome
from mailserver.settings.forms import HostPort
from mailserver.smtp.address import AddressError
from mailserver.smtp.plan import Login
from mailserver.smtp.transaction import Phase
from mailserver.transport.client import Client
from mailserver.transport.clientoptions import ClientOptions, own_name
from mailserver.transport.failures import (
    ConnectFailed,
    HostNotFound,
    LoginFailed,
    SendFailed,
    SendRefused,
    SessionLost,
    TlsFailed,
    failure_of,
)
from mailserver.transport.given import Letter, letter

# As many as there.
RETRIES = 5
_OPENING = (Phase.GREETING, Phase.HELLO, Phase.TLS, Phase.AUTH)

Text = bytes | str
Result = tuple[int, list[tuple[bytes, int, bytes]]]


def sendmail(  # noqa: PLR0917 - the signature is Twisted's
    smtphost: Text,
    from_addr: Text | smtp.Address,
    to_addrs: Text | Iterable[Text],
    msg: Any,
    senderDomainName: Text | None = None,
    port: int = 25,
    reactor: Any = None,
    username: Text | None = None,
    password: Text | None = None,
    requireAuthentication: bool = False,
    requireTransportSecurity: bool = False,
) -> Deferred[Result]:
    """Send `msg` (bytes, something with ``__bytes__``, or a file) from `from_addr` to `to_addrs` by `smtphost`.

    Fires with the number of recipients who got it and a list of (address, code, text). Raises
    ``twisted.mail.smtp.AddressError`` at once for what is no address; every other failure comes by the Deferred.
    """
    octets = msg.read() if hasattr(msg, "read") else bytes(msg)
    helo = _text(senderDomainName or own_name())
    names = [to_addrs] if isinstance(to_addrs, bytes | str) else list(to_addrs)
    mailboxes = [_mailbox(name, helo) for name in names]
    try:
        message = letter(octets, _mailbox(from_addr, helo), mailboxes)
    except AddressError as problem:
        raise smtp.AddressError(str(problem)) from None
    login = Login(
        _text(username or ""),
        _text(password or ""),
        unprotected=True,
        optional=not requireAuthentication,
        mechanisms=("CRAM-MD5", "LOGIN", "PLAIN") if password else (),
    )
    client = Client(
        HostPort(_text(smtphost), port),
        tls="required" if requireTransportSecurity else "offered",
        login=login,
        options=ClientOptions(
            helo_name=helo, reactor=reactor, connections=1, implicit_tls=False, chunking=False, any_octets=True
        ),
    )
    places = list(zip(map(_octets, names), mailboxes, strict=True))
    return Deferred.fromCoroutine(_send(client, message, places))


async def _send(client: Client, message: Letter, places: list[tuple[bytes, str]]) -> Result:
    async with client:
        for left in range(RETRIES, -1, -1):
            outcomes = await client.outcomes(message)
            addresses = [(name, *_reply(outcomes[mailbox])) for name, mailbox in places]
            taken = sum(outcomes[mailbox].klass is Klass.SUCCESS for _, mailbox in places)
            if taken:
                return taken, addresses
            failure = failure_of(outcomes)
            if not left or not _try_again(failure):
                raise _as_twisted(failure, addresses) from failure
    raise AssertionError("the last try answers or raises")


def _try_again(failure: SendFailed) -> bool:
    if isinstance(failure, HostNotFound | ConnectFailed | SessionLost):
        return not failure.uncertain
    reply = failure.reply or ""
    return failure.outcome.phase in _OPENING and reply.startswith("4")


def _as_twisted(failure: SendFailed, addresses: list[tuple[bytes, int, bytes]]) -> smtp.SMTPClientError:
    """The exception that stock has for it."""
    code, words = _reply(failure.outcome)
    if isinstance(failure, LoginFailed):
        return _login_error(failure, code, words)
    if isinstance(failure, TlsFailed):
        return _tls_error(failure, code, words)
    if isinstance(failure, SendRefused) and failure.outcome.phase is not Phase.GREETING:
        refused = b"\n".join(b"%b: %03d %b" % each for each in addresses if each[1] >= 0)
        if failure.outcome.phase is Phase.RCPT:
            code, words = addresses[-1][1], b"No recipients accepted"
        return smtp.SMTPDeliveryError(code, words, refused, addresses)
    if isinstance(failure, SessionLost) and failure.outcome.status.subject == 5:
        return smtp.SMTPProtocolError(-1, words)
    if failure.reply is not None:
        return smtp.SMTPConnectError(code, words)
    return smtp.SMTPConnectError(-1, b"Unable to connect to SMTP server: " + words)


def _login_error(failure: SendFailed, code: int, words: bytes) -> smtp.SMTPClientError:
    if failure.reply is not None:
        return smtp.AUTHDeclinedError(code, words)
    # 4.7.0: no mechanism in common; else the peer does not speak the one it offered.
    if failure.outcome.status.detail == 0:
        return smtp.AUTHRequiredError(502, words)
    return smtp.AuthenticationError(501, words)


def _tls_error(failure: SendFailed, code: int, words: bytes) -> smtp.SMTPClientError:
    if failure.reply is not None:
        refused: smtp.SMTPClientError = smtp.TLSError(code, words)
        return refused
    # RFC 3463 §3.8: 4.7.4 is a feature that the host does not offer.
    if failure.outcome.status.detail == 4:
        return smtp.TLSRequiredError(502, words)
    return smtp.SMTPConnectError(-1, b"Unable to connect to SMTP server: " + words)


def _reply(outcome: Outcome) -> tuple[int, bytes]:
    """Code and text; -1 and our own words where the host said nothing."""
    if outcome.remote_reply is None:
        return -1, outcome.text.encode()
    code, _, words = outcome.remote_reply.partition(" ")
    return int(code), words.encode()


def _mailbox(given: Text | smtp.Address, helo: str) -> str:
    """The bare address: a name around it is dropped, a local part alone is completed, as stock does."""
    text = str(given) if isinstance(given, smtp.Address) else _text(given)
    address = parseaddr(text)[1] or text.strip("<>")
    return address if "@" in address or not address else f"{address}@{helo}"


def _text(given: Text) -> str:
    return given.decode() if isinstance(given, bytes) else given


def _octets(given: Text) -> bytes:
    return given.encode() if isinstance(given, str) else given
