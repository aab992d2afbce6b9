"""The client side of an SMTP or LMTP session, without I/O.

RFC 5321, 1870, 2033, 2920, 3030, 3207, 3461, 4954, 6152, 6531, 8314, 9422. Facts go in
(:meth:`~ClientCore.receive`, :meth:`~ClientCore.tls_established`, :meth:`~ClientCore.start`,
:meth:`~ClientCore.content`, :meth:`~ClientCore.connection_lost`, …); events (:meth:`~ClientCore.next_event`),
octets (:meth:`~ClientCore.data_to_send`) and the wait that is on (:attr:`~ClientCore.waiting_for`) come out.

The way of a session: greeting, EHLO (HELO where the peer has no EHLO; LHLO in LMTP), STARTTLS and EHLO again,
AUTH, then :class:`~mailserver.smtp.plan.Ready`; with :meth:`~ClientCore.tls_begun` TLS comes before the greeting.
Each transaction ends with :class:`~mailserver.smtp.plan.Answered`: for each recipient the one
:class:`~mailserver.smtp.transaction.Answer` that decided. A session ends with
:class:`~mailserver.smtp.plan.Ended`, exactly once; before it, a transaction under way is answered.

Guarantees: nothing that arrived in clear is used after TLS (CVE-2011-0411); a password leaves only over
verified TLS unless the login says otherwise; a connection lost after the end of the content went out is marked
uncertain. Nothing the peer sends raises. A call in a wrong state is a bug of the caller and raises
:class:`~mailserver.smtp.clientstates.WrongState`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from mailserver.smtp import clientopening as opening
from mailserver.smtp import clientsending as sending
from mailserver.smtp.clientdialogue import ClientDialogue
from mailserver.smtp.clientreplies import ProtocolFailure
from mailserver.smtp.clientstates import State
from mailserver.smtp.plan import Event
from mailserver.smtp.reply import Reply
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import Answer, Phase, Transaction


class ClientCore(ClientDialogue):
    """One session, held as ``plan`` says. ``offers`` is the EHLO list: keyword in upper case to its parameters;
    ``limits`` is what LIMITS says there.

    ``state``, ``tls_verified``, ``progress`` and ``waiting_for`` are to look at, and the members below.
    """

    # What comes out.

    def next_event(self) -> Event | None:
        """The next event, or None."""
        return self.events.popleft() if self.events else None

    def data_to_send(self) -> bytes:
        """Octets for the peer, in one piece."""
        if len(self.out) == 1:
            return self.out.pop()
        data, self.out = b"".join(self.out), []
        return data

    @property
    def one_flight(self) -> bool:
        """True where a content that is given to :meth:`start` goes along with the envelope, by BDAT."""
        return sending.in_one_flight(self)

    # What goes in.

    def receive(self, data: bytes) -> None:
        """Octets from the peer."""
        if self.state is State.TLS:
            # CVE-2011-0411: half a reply in clear would be completed over TLS.
            self.end(self.problem("the host sent text in clear where TLS should begin", Status(4, 5, 0)))
        self.parser.feed(data)
        try:
            while self.state is not State.CLOSED and (reply := self.parser.next()) is not None:
                self._take(reply)
        except ProtocolFailure as failure:
            self.end(self.problem(str(failure), Status(4, 5, 0)))

    def tls_begun(self) -> None:
        """TLS was started with the connection, before the greeting."""
        self.require(State.GREETING)
        self.expected.clear()
        self.enter(State.TLS)

    def tls_established(self, verified: bool) -> None:
        """The handshake is done; `verified` when the certificate was checked against policy."""
        self.require(State.TLS)
        self.progress += 1
        self.tls_verified = verified
        if self.verb:
            return opening.first_hello(self)
        self.enter(State.GREETING)
        return self.expected.append(Phase.GREETING)

    def derived(self, root: bytes) -> None:
        """The work of a :class:`~mailserver.smtp.plan.Derive` is done; of no use where the session is over."""
        if self.state is State.AUTH:
            opening.derived(self, root)

    def start(self, transaction: Transaction, content: bytes | None = None) -> None:
        """Begin a transaction. Raises ValueError where an address cannot stand in a command.

        A `content` (whole, with LF line ends) goes along where :attr:`one_flight` is true, and is not looked at
        where it is false. Else the host is asked first, and :class:`~mailserver.smtp.plan.SendContent` comes.
        """
        sending.start(self, transaction, content)

    def content(self, piece: bytes) -> None:
        """Content octets with LF line ends. Raises ValueError for a CR among them."""
        self.require(State.CONTENT)
        self.progress += 1
        sending.content(self, piece)

    def content_end(self) -> None:
        """The content is complete."""
        sending.content_end(self)

    def quit(self) -> None:
        """Say QUIT. The session ends with its reply, whatever that is."""
        self.require(State.READY)
        self.enter(State.QUITTING)
        self.send(Phase.QUIT, b"QUIT\r\n")

    def connection_lost(self, why: str = "") -> None:
        """The connection is gone, or the handshake failed; `why` is for people."""
        if self.state is State.TLS:
            self.end(self.problem(f"the TLS handshake failed: {why}", Status(4, 7, 5)))
        elif self.state is not State.CLOSED:
            meanwhile = f" while waiting for the answer to {self.waiting_for[0].value}" if self.waiting_for else ""
            self.end(self.problem(f"{why or 'the connection was lost'}{meanwhile}", Status(4, 4, 2)))

    def timed_out(self) -> None:
        """What :attr:`waiting_for` speaks of did not come in time."""
        phase, seconds = self.waiting_for or (Phase.QUIT, 0)
        status = Status(4, 7, 5) if phase is Phase.TLS else Status(4, 4, 2)
        self.end(self.problem(f"no answer to {phase.value} within {seconds:g} s", status))

    def _take(self, reply: Reply) -> None:
        self.progress += 1
        if reply.code == 421:
            # RFC 5321 §3.8: may come at any time, and is the last.
            return self.end(Answer(self.phase, reply))
        if self.state is State.CONTENT and not reply.positive:
            # Refused in mid-content. There is no way to go on but to close.
            return self.end(Answer(Phase.CONTENT, reply))
        if not self.expected:
            raise ProtocolFailure(f"a reply came unasked: {reply}"[:200])
        _HANDLERS[self.expected.popleft()](self, reply)
        return sending.advance(self)


def _quit_reply(core: ClientDialogue, _: Reply) -> None:
    core.end(None)


# A phase is set from its command to its reply, and this is who reads the reply.
_HANDLERS: Mapping[Phase, Callable[[ClientDialogue, Reply], None]] = MappingProxyType(
    {
        Phase.GREETING: opening.greeting,
        Phase.HELLO: opening.hello_reply,
        Phase.TLS: opening.starttls_reply,
        Phase.AUTH: opening.auth_reply,
        Phase.RESET: sending.reset_reply,
        Phase.MAIL: sending.mail_reply,
        Phase.RCPT: sending.rcpt_reply,
        Phase.DATA: sending.data_reply,
        Phase.FINAL: sending.final_reply,
        Phase.QUIT: _quit_reply,
    }
)
