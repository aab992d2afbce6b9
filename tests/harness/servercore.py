"""A server core and somebody who answers its questions from a table, for tests without a socket."""

from base64 import b64encode

from mailserver.smtp import events, replies, states
from mailserver.smtp.limits import Profile
from mailserver.smtp.reply import reply
from mailserver.smtp.sasl import PASSWORD_MECHANISMS
from mailserver.smtp.server import ServerCore

YES = {
    events.Opened: replies.greeting("mx.example.org"),
    events.Hello: replies.OK,
    events.MailFrom: replies.SENDER_OK,
    events.RcptTo: replies.RECIPIENT_OK,
    events.ContentBegins: replies.SEND_CONTENT,
    events.ContentEnds: replies.OK,
    events.Authenticate: replies.AUTHENTICATED,
    events.StartTls: replies.BEGIN_TLS,
}
MX = Profile("mx.example.org", starttls=True)
LMTP = Profile("mx.example.org", starttls=True, lmtp=True)
SUBMISSION = Profile("mx.example.org", mechanisms=("PLAIN", "LOGIN"), starttls=True, auth_required=True)
ANNA = b64encode(b"\0anna\0secret")


class Driver:
    """A core and somebody who answers its questions from a table."""

    def __init__(self, profile=MX, tls=False, **answers):
        self.core = ServerCore(profile, PASSWORD_MECHANISMS, tls)
        self.profile = profile
        self.answers = YES | {getattr(events, name): answer for name, answer in answers.items()}
        self.events = []
        self.turn()

    def turn(self):
        core = self.core
        while (event := core.next_event()) is not None:
            self.events.append(event)
            if core.asking:
                answer = self.answers[type(event)]
                core.answer(*answer if isinstance(answer, tuple) else (answer,))
            if core.state is states.TLS:
                self.output += core.data_to_send() + b"<TLS>"
                core.tls_started()
        self.output += core.data_to_send()

    output = b""

    def say(self, *lines, raw=b""):
        """Send lines; answers the codes that came back."""
        self.output = b""
        self.core.receive(b"".join(line.encode() + b"\r\n" for line in lines) + raw)
        self.turn()
        return [int(line[:3]) for line in self.output.splitlines() if line[3:4] == b" "]

    def names(self):
        return [type(event).__name__ for event in self.events]

    def envelope(self, *recipients):
        """A transaction up to its last recipient."""
        lines = [f"RCPT TO:<{recipient}>" for recipient in recipients or ("c@d",)]
        assert self.say("MAIL FROM:<a@b>", *lines) == [250] * (1 + len(lines))

    @property
    def accepted(self):
        """The contents of the messages that were taken, in order."""
        taken, content = [], b""
        for event in self.events:
            if isinstance(event, events.ContentBegins):
                content = b""
            elif isinstance(event, events.ContentSlice):
                content += event.octets
            elif isinstance(event, events.ContentEnds):
                taken.append(content)
        return taken


def ready(profile=MX, **how):
    driver = Driver(profile, **how)
    driver.say("LHLO client.example" if profile.lmtp else "EHLO client.example")
    return driver


def at(state, profile=MX):
    """A driver that stands in `state`, one in which commands are read."""
    if state is states.REFUSED:
        return Driver(profile, Opened=reply(554, (5, 7, 1), "no"))
    driver = Driver(profile)
    hello = "LHLO x" if profile.lmtp else "EHLO x"
    steps = {states.GREETED: 0, states.READY: 1, states.MAIL: 2, states.RCPT: 3, states.CHUNKED: 4}[state]
    driver.say(*[hello, "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "BDAT 0"][:steps])
    assert driver.core.state is state
    return driver
