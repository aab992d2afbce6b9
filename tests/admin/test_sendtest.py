"""The test message, against a listener of a few lines."""

import socketserver
import threading

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as Reactor

from mailserver.accounts.store import AccountStore
from mailserver.admin.command import ControlError
from mailserver.admin.sendtest import send_test
from mailserver.admin.world import World
from mailserver.message.envelope import Envelope, Recipient
from mailserver.message.state import State
from mailserver.settings.model import Settings
from mailserver.smtp.address import NULL, Mailbox
from mailserver.spool.contract import Page, QueuedMessage, QueuedRecipient
from mailserver.threads import inline

QUEUE_ID = "0683mw5z8r1p2q3s4t5v6w7"


class Listener(socketserver.StreamRequestHandler):
    """Takes one message; ``server.replies`` changes what is said to a verb."""

    def handle(self):
        self.wfile.write(b"220 mx.example.org\r\n")
        while line := self.rfile.readline():
            verb = line.split()[0].upper().decode()
            reply = self.server.replies.get(verb, "250 2.0.0 ok")
            self.wfile.write(reply.encode() + b"\r\n")
            if verb == "DATA" and reply.startswith("354"):
                content = b""
                while not content.endswith(b"\r\n.\r\n"):
                    content += self.rfile.readline()
                self.server.content = content
                self.wfile.write(b"250 2.0.0 Accepted as " + QUEUE_ID.encode() + b"\r\n")
            if verb == "QUIT":
                return


def message(*states):
    recipients = (Recipient(n, Mailbox.parse(f"r{n}@x.example"), ()) for n in range(9))
    queued = tuple(QueuedRecipient(r, state, 0.0) for r, state in zip(recipients, states, strict=False))
    return QueuedMessage(QUEUE_ID, Envelope(NULL), 0.0, 1, queued)


class Kit:
    def __init__(self, tmp_path, server):
        self.store = AccountStore(tmp_path / "accounts.db", inline, self)
        self.store.open()
        self.store.add_domain("example.org")
        self.store.add_account("anna@example.org", "x")
        self.waits = 0
        self.lost = False
        self.waiting = message(State.ACTIVE)
        self.server = server
        self.maildir = tmp_path / "maildirs" / "example.org" / "anna"
        self.reactor = Reactor()
        settings = Settings(instance=tmp_path, host_name="mx.example.org")
        self.world = World(
            settings, self.store, None, self, self, inline, status=self.status, reactor=self.reactor
        )
        self.listening = [f"0.0.0.0:{server.server_address[1]}"]

    def wall(self):
        return 1_700_000_000.0

    def monotonic(self):
        return self.reactor.seconds()

    def status(self):
        return {
            "listeners": [
                {"role": "submission", "listening": ["x:1"]},
                {"role": "mx", "listening": self.listening},
            ]
        }

    def find(self, query):
        assert query.queue_id == QUEUE_ID
        self.waits -= 1
        if self.waits >= 0:
            return Page((self.waiting,))
        if self.lost:
            return Page(())
        (self.maildir / "new").mkdir(parents=True)
        (self.maildir / "new" / f"1700000000.{QUEUE_ID}R0.mail").write_text("it")
        return Page(())

    def run(self, to=None, timeout=5.0):
        out = []

        async def records():
            return [record async for record in send_test(self.world, to, timeout)]

        Deferred.fromCoroutine(records()).addBoth(out.append)
        self.reactor.pump([0.1] * 100)
        if hasattr(out[0], "raiseException"):
            out[0].raiseException()
        return out[0]


@pytest.fixture
def kit(tmp_path):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Listener) as server:
        server.replies = {"DATA": "354 go", "QUIT": "221 bye"}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        kit = Kit(tmp_path, server)
        yield kit
        kit.store.close()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("waits", [0, 3])
def test_it_says_where_the_message_is(kit, waits):
    kit.waits = waits
    sending, taken, delivered = kit.run()
    assert sending["said"].startswith("sending to anna@example.org through 127.0.0.1:")
    assert taken["queue id"] == QUEUE_ID
    assert delivered["file"] == str(kit.maildir / "new" / f"1700000000.{QUEUE_ID}R0.mail")
    assert b"\r\nTo: anna@example.org\r\n" in kit.server.content


def test_it_says_when_the_message_is_stuck(kit):
    kit.waits = 1000
    with pytest.raises(ControlError, match=f"stored, but not delivered after 5 seconds; `queue show {QUEUE_ID}`"):
        kit.run()


def test_it_does_not_wait_for_what_will_not_come(kit):
    kit.waits, kit.waiting = 1000, message(State.DELIVERED, State.HELD)
    with pytest.raises(ControlError, match=r"not all of it is delivered: r1@x\.example: held: by an"):
        kit.run()
    assert kit.waits == 999


def test_it_waits_for_the_end_of_a_message_whose_recipients_are_final(kit):
    kit.waits, kit.waiting = 2, message(State.DELIVERED)
    assert kit.run()[-1]["said"].startswith("delivered: ")


def test_a_message_that_went_elsewhere(kit):
    kit.lost = True
    with pytest.raises(ControlError, match=f"it has left the queue, but is not in .*{QUEUE_ID}"):
        kit.run()
    kit.store.add_alias("sales@example.org", ["anna@example.org"])
    assert kit.run("sales@example.org")[-1]["said"].startswith("it has left the queue; the log says")


def test_what_the_server_refuses_is_said(kit):
    kit.server.replies["RCPT"] = "550 5.7.1 relaying denied"
    with pytest.raises(ControlError, match=r"the server refused x@y\.example: 550 5\.7\.1 relaying denied"):
        kit.run("x@y.example")


def test_a_listener_that_cannot_be_reached(kit):
    kit.server.replies["MAIL"] = "421 4.3.2 stopping"
    with pytest.raises(ControlError, match="the server refused the sender: 421"):
        kit.run()
    kit.listening = ["127.0.0.1:1"]
    with pytest.raises(ControlError, match=r"the SMTP session with 127\.0\.0\.1:1 failed: .*refused"):
        kit.run()


def test_no_listener_and_no_account(kit):
    with pytest.raises(ControlError, match="'no' is not a mail address"):
        kit.run("no")
    kit.store.remove_account("anna@example.org")
    with pytest.raises(ControlError, match="there is no account yet"):
        kit.run()
    kit.listening = []
    with pytest.raises(ControlError, match="no listener of the role mx is open"):
        kit.run()
