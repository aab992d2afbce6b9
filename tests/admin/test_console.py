"""The console over the whole of twisted.web's HTTP, in memory, on a real account store and a recording spool."""

import http.client
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock as Reactor
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Site

from mailserver.accounts.store import AccountStore
from mailserver.admin.console import ConsoleResource, Operator
from mailserver.admin.control import Control
from mailserver.admin.world import World
from mailserver.interfaces import SpoolFull
from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.message.outcome import transient
from mailserver.message.query import Page, QueuedMessage, QueuedRecipient
from mailserver.message.state import State
from mailserver.settings.model import Accounts, Settings
from mailserver.smtp.address import Mailbox
from mailserver.threads import inline

NOW = 1_700_000_000.0
ID, OTHER, GONE = "0" * 23, "1" * 23, "2" * 23
EVIL = '"<script>alert(1)</script>"'


class Clock:
    now = 0.0

    def wall(self):
        return NOW

    def monotonic(self):
        return self.now


def queued(number, address, state, text="later"):
    mailbox = Mailbox.parse(address)
    last = replace(transient(text), remote_mta="mx.remote.example", remote_reply=f"450 {text}")
    return QueuedRecipient(Recipient(number, mailbox, (Original(mailbox),)), state, NOW + 60, 1, last=last)


HOSTILE = Envelope(
    Mailbox.parse(f"{EVIL}@evil.example"),
    envid="<script>",
    client_address="192.0.2.1",
    helo="<script>alert(2)</script>",
)
MESSAGES = (
    QueuedMessage(
        ID, HOSTILE, NOW, 1234, (queued(0, "bob@remote.example", State.DEFERRED, "<img src=x>\x1b[2J"),)
    ),
    QueuedMessage(
        OTHER, Envelope(Mailbox.parse("anna@example.org")), NOW, 99, (queued(0, "x@y.example", State.HELD),)
    ),
)


class Spool:
    full = False

    def __init__(self):
        self.settled = []

    def find(self, query):
        found = [m for m in MESSAGES if m.queue_id > query.after and query.queue_id in (None, "", m.queue_id)]
        return Page(tuple(found[:1]), found[0].queue_id if len(found) > 1 else "")

    def counts(self):
        return {"messages": 2, "queued": 0, "deferred": 1, "held": 1}

    async def settle(self, settlements):
        if self.full:
            raise SpoolFull("no room on the disk")
        self.settled += settlements
        return []


class Queue:
    kicks = 0

    def kick(self):
        self.kicks += 1


class Answer:
    def __init__(self, octets, url, method):
        class Socket:
            def makefile(self, *_):
                return io.BytesIO(octets)

        read = http.client.HTTPResponse(Socket(), method=method)
        read.begin()
        self.status, self.headers, self.text, self.url = read.status, read.headers, read.read().decode(), url

    @property
    def location(self):
        return urljoin(self.url, self.headers["Location"])

    @property
    def links(self):
        return [urljoin(self.url, each) for each in re.findall(r'(?:href|action)="([^"]*)"', self.text)]

    @property
    def token(self):
        return re.search(r'name="token" value="([^"]*)"', self.text)[1]


class Kit:
    def __init__(self, tmp_path):
        self.clock = Clock()
        self.store = AccountStore(tmp_path / "accounts.db", inline, self.clock)
        self.store.open()
        self.spool, self.queue = Spool(), Queue()
        settings = Settings(instance=tmp_path, host_name="mx.example.org", accounts=Accounts(bcrypt_cost=4))
        self.listener = {
            "name": "mx",
            "role": "mx",
            "tls": "none",
            "wanted": ["*:25"],
            "listening": ["0.0.0.0:25"],
        }
        self.blocked = None
        self.world = World(
            settings, self.store, self.spool, self.spool, self.clock, inline, self.queue, self.status
        )
        self.operator = Operator("maria", role="administrator")
        self.login = lambda request: self.operator
        self.mount()

    def status(self):
        listeners = [{**self.listener, "sessions": 4}]
        return {"uptime": 90_061, "blocked": self.blocked, "attempts": 3, "listeners": listeners}

    def _who(self, request):
        return self.login(request)

    def mount(self, world=None, below=(b"mail",)):
        console = ConsoleResource(Control(world or self.world), self._who, self.clock)
        root = here = Resource()
        for name in below[:-1]:
            here.putChild(name, further := Resource())
            here = further
        if below:
            here.putChild(below[-1], console)
        self.site = Site(root if below else console, reactor=Reactor())

    def ask(self, path="", method="GET", base="/mail/", **form):
        url = urljoin("http://host.example" + base, path)
        answer = self.begin(url, method, urlencode(form).encode())
        return Answer(answer(), url, method)

    def begin(self, url, method="GET", body=b""):
        split = urlsplit(url)
        way = split.path + ("?" + split.query if split.query else "")
        head = f"{method} {way} HTTP/1.0\r\nHost: host.example\r\nContent-Length: {len(body)}\r\n"
        head += "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
        self.protocol, transport = self.site.buildProtocol(None), StringTransport()
        self.protocol.makeConnection(transport)
        self.protocol.dataReceived(head.encode() + body)
        return transport.value

    def post(self, way, page):
        """Press the button of `page`."""
        return self.ask(way, "POST", token=self.ask(page).token)

    def run(self, name, **arguments):
        out = []
        Deferred.fromCoroutine(Control(self.world).run(name, arguments)).addBoth(out.append)
        assert isinstance(out[0], dict), out


@pytest.fixture
def kit(tmp_path):
    kit = Kit(tmp_path)
    yield kit
    kit.store.close()


@pytest.fixture
def failures():
    events = []

    def observer(event):
        if event["log_level"] is LogLevel.critical:
            events.append(event["log_failure"].type)

    globalLogPublisher.addObserver(observer)
    yield events
    globalLogPublisher.removeObserver(observer)


PAGES = ("", "queue", f"queue/{ID}", f"queue/{ID}/remove", "accounts", "nowhere", f"queue/{GONE}")


# Pages.


def test_overview(kit):
    page = kit.ask()
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    for said in ("Overview", "mx.example.org", "accepted", "1 d 1 h, since", "*:25", "0.0.0.0:25", "listens"):
        assert said in page.text
    assert "1 recipient is held. The queue says why." in page.text


def test_overview_names_what_is_wrong(kit):
    kit.blocked = "no room"
    kit.listener["listening"] = []
    kit.mount(
        replace(
            kit.world,
            settings=replace(kit.world.settings, relay=replace(kit.world.settings.relay, outgoing="hold")),
        )
    )
    text = kit.ask().text
    assert "New mail is refused for now: no room." in text
    assert "Outgoing mail is on hold" in text
    assert "The listener “mx” does not listen." in text
    assert "Nothing needs you" not in text


def test_overview_of_a_quiet_server(kit):
    kit.spool.counts = lambda: {"messages": 0, "held": 0}
    text = kit.ask().text
    assert "Nothing needs you now." in text
    assert "The queue is empty." in text


def test_a_server_that_does_not_run(kit):
    kit.mount(replace(kit.world, status=None))
    page = kit.ask()
    assert page.status == 400
    assert "the server is not running" in page.text


def test_the_queue_page_by_page(kit):
    first = kit.ask("queue")
    assert "bob@remote.example" in first.text
    assert "x@y.example" not in first.text
    [further] = [link for link in first.links if "after=" in link]
    second = kit.ask(further)
    assert "x@y.example" in second.text
    assert "Further messages" not in second.text


def test_the_queue_by_state(kit):
    page = kit.ask("queue?state=held")
    assert '<a href="./queue?state=held" aria-current="true">Held</a>' in page.text
    assert "bob@remote.example" not in page.text
    wrong = kit.ask("queue?state=delivered")
    assert wrong.status == 400
    assert "there is no state" in wrong.text


def test_one_message(kit):
    page = kit.ask(f"queue/{OTHER}")
    for said in ("anna@example.org", "99 octets", "2023-11-14 22:13:20 UTC", "held: 4.0.0 later"):
        assert said in page.text
    gone = kit.ask(f"queue/{GONE}")
    assert gone.status == 404
    assert "it may be delivered" in gone.text


def test_accounts(kit):
    assert "There are no domains." in kit.ask("accounts").text
    kit.run("domain add", domain="example.org")
    kit.run("account add", address="__class__@example.org", password="correct horse", any_sender=True)
    kit.run("alias add", address="sales@example.org", targets=["__class__@example.org", "x@y.example"])
    page = kit.ask("accounts")
    assert page.status == 200
    for said in (">example.org<", ">__class__@example.org<", ">yes<", "__class__@example.org, x@y.example"):
        assert said in page.text
    assert "$2b$" not in page.text


def test_accounts_that_the_application_keeps(kit):
    kit.mount(replace(kit.world, accounts=None))
    page = kit.ask("accounts")
    assert page.status == 200
    assert "This server keeps no accounts of its own" in page.text


# Changes.


def test_retry(kit):
    done = kit.post(f"queue/{ID}/retry", f"queue/{ID}")
    assert done.status == 303
    assert [(each.queue_id, each.changes[0].state) for each in kit.spool.settled] == [(ID, State.QUEUED)]
    assert kit.queue.kicks == 1
    assert done.location.startswith("http://host.example/mail/queue?")
    assert "One recipient will be tried now." in kit.ask(done.location).text


def test_remove_shows_first_what_would_go(kit):
    page = kit.ask(f"queue/{OTHER}/remove")
    assert "removed for good" in page.text
    assert "x@y.example" in page.text
    assert kit.spool.settled == []
    done = kit.post(f"queue/{OTHER}/remove", f"queue/{OTHER}/remove")
    assert [(each.queue_id, each.changes[0].state) for each in kit.spool.settled] == [(OTHER, State.REMOVED)]
    assert "Removed one recipient; no report goes to the sender." in kit.ask(done.location).text


def test_nobody_else_can_put_a_sentence_onto_the_page(kit):
    assert "Call this number" not in kit.ask("queue?said=Call+this+number&mark=0.00").text
    done = kit.post(f"queue/{ID}/retry", f"queue/{ID}")
    assert "Two recipients" not in kit.ask(done.location.replace("One+recipient", "Two+recipients")).text


def test_a_message_that_went_meanwhile(kit):
    token = kit.ask(f"queue/{ID}").token
    kit.spool.find = lambda query: Page((), "")
    late = kit.ask(f"queue/{ID}/retry", "POST", token=token)
    assert late.status == 400
    assert "is in the queue; it may be delivered" in late.text


def test_a_full_spool_is_said(kit):
    kit.spool.full = True
    page = kit.post(f"queue/{ID}/remove", f"queue/{ID}/remove")
    assert page.status == 503
    assert "no room on the disk" in page.text


def tokens(kit):
    right = kit.ask(f"queue/{ID}").token
    yield "none", None
    yield "empty", ""
    yield "invented", "1.abc"
    yield "no text", "\udcff\ufffd"
    yield "another message", kit.ask(f"queue/{OTHER}").token
    yield "another change", kit.ask(f"queue/{ID}/remove").token
    yield "another day", "1" + right
    kit.operator = Operator("joe", role="administrator")
    other = kit.ask(f"queue/{ID}").token
    kit.operator = Operator("maria", role="administrator")
    yield "another operator", other
    kit.mount()
    yield "another run of the server", right


def test_a_form_needs_its_own_token(kit):
    for name, token in tokens(kit):
        form = {} if token is None else {"token": token.encode("utf-8", "surrogatepass")}
        page = kit.ask(f"queue/{ID}/retry", "POST", **form)
        assert (name, page.status) == (name, 403)
        assert "Nothing was changed" in page.text
    assert kit.spool.settled == []


def test_a_token_ends_after_an_hour(kit):
    token = kit.ask(f"queue/{ID}").token
    kit.clock.now = 3_601.0
    assert kit.ask(f"queue/{ID}/retry", "POST", token=token).status == 403
    kit.clock.now = 3_600.0
    assert kit.ask(f"queue/{ID}/retry", "POST", token=token).status == 303


# Who may.


def test_strangers_get_a_sentence_and_nothing_else(kit):
    kit.operator = None
    for path in ("", "queue", f"queue/{ID}", "accounts", "nowhere"):
        page = kit.ask(path)
        assert page.status == 403
        assert "for operators who have logged in" in page.text
        assert "<nav" not in page.text
    assert kit.ask(f"queue/{ID}/retry", "POST").status == 403
    assert kit.ask("", base="/mail").status == 403
    assert kit.ask("style.css").status == 200


def test_viewers_look_and_change_nothing(kit):
    token = kit.ask(f"queue/{ID}").token
    kit.operator = Operator("maria", role="viewer")
    for path in ("", "queue", f"queue/{ID}", "accounts"):
        page = kit.ask(path)
        assert page.status == 200
        assert "<form" not in page.text
        assert "remove" not in page.text.lower()
    for method, way in (("GET", "remove"), ("POST", "remove"), ("POST", "retry")):
        page = kit.ask(f"queue/{ID}/{way}", method, token=token)
        assert page.status == 403
        assert "for administrators" in page.text
    assert kit.spool.settled == []


def test_operators():
    assert Operator("maria").role == "viewer"
    with pytest.raises(ValueError, match="administrator or viewer, not 'root'"):
        Operator("maria", role="root")
    with pytest.raises(ValueError, match="is text, not bytes"):
        Operator(b"maria")


@pytest.mark.parametrize("answer", [True, "maria", object()])
def test_an_answer_that_is_no_operator_lets_nobody_in(kit, failures, answer):
    kit.login = lambda request: answer
    page = kit.ask()
    assert page.status == 500
    assert "<nav" not in page.text
    assert failures == [TypeError]


def test_a_login_that_fails_lets_nobody_in(kit, failures):
    kit.login = lambda request: {}["secret"]
    page = kit.ask("queue")
    assert page.status == 500
    assert "The login does not work" in page.text
    assert "secret" not in page.text
    assert failures == [KeyError]


def test_a_login_may_take_its_time(kit):
    waiting = Deferred()
    kit.login = lambda request: waiting
    value = kit.begin("http://host.example/mail/")
    assert value() == b""
    waiting.callback(kit.operator)
    assert b"Overview" in value()

    async def coroutine(request):
        return kit.operator

    kit.login = coroutine
    assert kit.ask().status == 200


def test_a_visitor_who_leaves_before_the_answer(kit, failures):
    waiting = Deferred()
    kit.login = lambda request: waiting
    value = kit.begin("http://host.example/mail/")
    kit.protocol.connectionLost(Failure(ConnectionDone()))
    waiting.callback(kit.operator)
    assert (value(), failures) == (b"", [])


# HTTP.


def test_every_answer_is_locked_up(kit):
    for path in (*PAGES, "style.css", f"queue/{ID}/retry"):
        headers = kit.ask(path).headers
        policy = dict(each.strip().split(" ", 1) for each in headers["Content-Security-Policy"].split(";"))
        assert policy == {
            "default-src": "'none'",
            "style-src": "'self'",
            "form-action": "'self'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
        }
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


def test_the_style_sheet(kit):
    sheet = kit.ask("style.css")
    assert sheet.headers["Content-Type"] == "text/css; charset=utf-8"
    assert "prefers-color-scheme: dark" in sheet.text
    assert "url(" not in sheet.text
    assert "@import" not in sheet.text


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("", "POST", "GET, HEAD"),
        ("queue", "PUT", "GET, HEAD"),
        ("accounts", "DELETE", "GET, HEAD"),
        ("accounts", "OPTIONS", "GET, HEAD"),
        ("queue/{id}/retry", "GET", "POST"),
        ("queue/{id}/retry", "HEAD", "POST"),
        ("queue/{id}/remove", "BREW", "GET, HEAD, POST"),
    ],
)
def test_other_methods(kit, path, method, allowed):
    page = kit.ask(path.format(id=ID), method)
    assert (page.status, page.headers["Allow"]) == (405, allowed)
    assert kit.spool.settled == []


@pytest.mark.parametrize(
    "path",
    [
        "nowhere", "queue/", "queue//retry", "queue/{id}", "queue/{id}/retry", "queue/x", f"queue/{ID}/",
        "accounts/", f"queue/{ID}/explode", "queue/%3Cscript%3E", "queue/%ff", "queue/%00",
        "queue/..%2f..%2fetc", "__class__", f"accounts/{ID}", "style.css/x", f"{ID}",
    ],
)  # fmt: skip
def test_unknown_paths(kit, path):
    for method in ("GET", "POST"):
        page = kit.ask(path, method)
        assert page.status == 404
        assert "There is nothing here." in page.text
        assert "<script" not in page.text


def test_head_is_get_without_the_body(kit):
    head, get = kit.ask("queue", "HEAD"), kit.ask("queue")
    assert (head.status, head.text) == (200, "")
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


@pytest.mark.parametrize("below", [(), (b"mail",), (b"office", b"a:b", b"mail")])
def test_links_work_wherever_it_is_mounted(kit, below):
    kit.mount(below=below)
    base = "/" + "".join(f"{name.decode()}/" for name in below)
    kit.ask(f"queue/{ID}", base=base)
    seen, waiting = set(), [f"http://host.example{base}"]
    while waiting:
        url = waiting.pop()
        if url in seen or url.endswith(("/retry",)):
            continue
        seen.add(url)
        assert url.startswith(f"http://host.example{base}")
        page = kit.ask(url)
        assert page.status == 200
        waiting += [link.partition("#")[0] for link in page.links]
    ways = {url.removeprefix(f"http://host.example{base}") for url in seen}
    assert {"", "queue", "accounts", "style.css", f"queue/{ID}", f"queue/{ID}/remove"} <= ways


def test_the_slash_of_the_root_is_added(kit):
    kit.mount(below=(b"a:b",))
    page = kit.ask(base="/a:b")
    assert (page.status, page.location) == (302, "http://host.example/a%3Ab/")
    assert kit.ask(page.location).status == 200


def test_a_bug_of_ours_says_nothing_to_the_visitor(kit, failures):
    kit.spool.counts = lambda: {}["secret"]
    page = kit.ask()
    assert page.status == 500
    assert "secret" not in page.text
    assert failures == [KeyError]


def test_a_page_that_cannot_be_written_is_answered(kit, failures, monkeypatch):
    monkeypatch.setattr("mailserver.admin.console.resource.document", lambda *_: object())
    page = kit.ask()
    assert page.status == 500
    assert len(failures) == 1


# Text of strangers.


class Outline(HTMLParser):
    """What a browser makes of a page: the tags with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def test_hostile_text_is_text(kit):
    kit.operator = Operator("<script>\"'&", role="administrator")
    for path in PAGES:
        page = kit.ask(path)
        outline = Outline(page.text)
        assert not outline.all("script")
        assert not outline.all("img")
        assert "\x1b" not in page.text
    shown = kit.ask(f"queue/{ID}").text
    assert "&lt;script&gt;alert(1)" in shown
    assert "&lt;script&gt;alert(2)" in shown
    assert "&lt;img src=x&gt;\\x1b[2J" in shown
    assert kit.post(f"queue/{ID}/retry", f"queue/{ID}").status == 303


def test_hostile_arguments(kit):
    for query in (
        "?state=%3Cscript%3E",
        "?after=%ff%fe",
        "?after=%3Cscript%3E",
        "?said=%3Cscript%3E&mark=%ff",
        "?=&&=%",
    ):
        page = kit.ask("queue" + query)
        assert page.status in (200, 400)
        assert "<script" not in page.text


# Reading with other means than a mouse and a large screen.


@pytest.mark.parametrize("path", PAGES)
def test_pages_have_landmarks_headings_and_captions(kit, path):
    outline = Outline(kit.ask(path).text)
    assert outline.all("html") == [{"lang": "en"}]
    for name in ("main", "h1", "header", "title"):
        assert len(outline.all(name)) == 1
    assert all(each["aria-label"] for each in outline.all("nav"))
    assert outline.all("a")[0] == {"href": "#content", "class": "skip"}
    assert outline.all("main") == [{"id": "content", "tabindex": "-1"}]
    assert len(outline.all("caption")) == len(outline.all("table"))
    assert all(each["scope"] in ("col", "row") for each in outline.all("th"))
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in outline.all("meta")
    forbidden = [name for tag, each in outline.tags for name in each if name.startswith("on") or name == "style"]
    assert forbidden == []
    assert not outline.all("style")


def test_the_console_makes_no_session(kit):
    assert "Set-Cookie" not in kit.ask().headers
