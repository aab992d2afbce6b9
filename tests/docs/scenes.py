"""What happens around each program of the manual: a function for each starts it and does what its page says.

A program without one fails `test_blocks`. All run in the fresh environment, from the wheel.
"""

from __future__ import annotations

import signal
import smtplib
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.cookiejar import CookieJar

import pytest

from mailserver.net.tls import self_signed
from tests.docs.fresh import Running
from tests.docs.sendinghost import Server
from tests.docs.stage import Stage
from tests.harness.peer import Peer

Scene = Callable[[Stage], None]
SCENES: dict[tuple[str, str], Scene] = {}

STRANGER = "carl@elsewhere.example"
ORDERS = "orders@example.org"
# Added to a program: what it must not have imported by its end, and has.
PROBE = """
import atexit, sys
atexit.register(lambda: print("imported", [name for name in sys.modules if name.startswith("mailserver.reception")
    or name in ("mailserver.net.server", "mailserver.server", "mailserver.service")]))
"""


def scene(page: str, *names: str) -> Callable[[Scene], Scene]:
    """Of these programs of the page."""

    def remember(play: Scene) -> Scene:
        for name in names:
            assert (page, name) not in SCENES
            SCENES[page, name] = play
        return play

    return remember


def sends(stage: Stage, *recipients: str, text: str = "Two chairs.") -> None:
    with stage.client() as client:
        client.sendmail(STRANGER, recipients, f"Subject: an order\r\n\r\n{text}\r\n")


def refusal(client: smtplib.SMTP, *recipients: str, text: str = "x") -> tuple[int, bytes]:
    """The reply that refuses a message; it must be refused."""
    try:
        client.sendmail(STRANGER, recipients, f"Subject: x\r\n\r\n{text}\r\n")
    except smtplib.SMTPRecipientsRefused as error:
        return error.recipients[recipients[0]]
    except smtplib.SMTPDataError as error:
        return error.smtp_code, bytes(error.smtp_error)
    raise AssertionError("it was taken")


def ends_well(running: Running) -> None:
    """Ctrl-C ends it in good order."""
    running.stop(signal.SIGINT)
    assert not [line for line in running.lines if "Traceback" in line], "\n".join(running.lines)


@scene("README.md", "#1")
def readme(stage: Stage) -> None:
    stage.write("mail.py")
    running = stage.start("twistd", "-ny", "mail.py")
    with stage.client() as client:
        assert refusal(client, ORDERS)[0] == 550
    ends_well(running)


@scene("docs/embedding.md", "orders.py")
def orders(stage: Stage) -> None:
    running = stage.start()
    with stage.client() as client:
        assert refusal(client, "nobody@example.org")[0] == 550
    sends(stage, ORDERS)
    running.prints(rf"\w{{20,}} {STRANGER} {ORDERS} Two chairs\.")
    ends_well(running)


@scene("docs/embedding.md", "#1")
def answering(stage: Stage) -> None:
    assert stage.run().stdout == stage.block.prints


@scene("docs/deliveries.md", "shelf.py")
def shelf(stage: Stage) -> None:
    chain, key = self_signed("mx.example.org", time.time())
    (stage.home / "server.pem").write_bytes(key + chain)
    (stage.home / "users.txt").write_text("anna:secret\n")
    running = stage.start()
    sends(stage, ORDERS)
    running.prints(r"a stranger sent Two chairs\.")
    with stage.client() as client:
        assert refusal(client, "anybody@example.org")[0] == 550
        assert "auth" not in client.esmtp_features
        context = ssl.create_default_context(cadata=chain.decode())
        context.check_hostname = False
        client.starttls(context=context)
        client.login("anna", "secret")
        client.sendmail("anna@example.org", ["anybody@example.org"], "Subject: x\r\n\r\nFrom me.\r\n")
    running.prints(r"anna sent From me\.")
    ends_well(running)


@scene("docs/coming-from-aiosmtpd.md", "before.py", "after.py")
def on_both(stage: Stage) -> None:
    """The same dialogue, the same replies, the same output."""
    if stage.block.name == "before.py":
        running = stage.start(stage.fresh.python, "before.py", ready="")
        wait_for_port(stage, running)
    else:
        running = stage.start()
    with stage.client() as client:
        assert refusal(client, "nobody@example.org")[0] == 550
        assert refusal(client, ORDERS, text="cheap viagra") == (550, b"5.7.1 not that")
    sends(stage, ORDERS)
    running.prints(rf"{STRANGER} {ORDERS} Two chairs\.")
    ends_well(running)


def wait_for_port(stage: Stage, running: Running) -> None:
    end = time.monotonic() + 10
    while running.process.poll() is None and time.monotonic() < end:
        try:
            stage.client().close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("\n".join(running.lines))


@scene("docs/coming-from-aiosmtpd.md", "on_asyncio.py")
def on_asyncio(stage: Stage) -> None:
    running = stage.start()
    sends(stage, ORDERS)
    running.prints("saved")
    ends_well(running)


@scene("docs/queue.md", "#1")
def queue(stage: Stage) -> None:
    hop = Peer().up()
    try:
        assert stage.block.text.count("127.0.0.1:2526") == 1
        text = PROBE + stage.block.text.replace("127.0.0.1:2526", hop.place)
        assert stage.run(text).stdout == f"{stage.block.prints}imported []\n"
        (received,) = hop.received
    finally:
        hop.down()
    assert (received.sender, received.recipients) == ("shop@example.org", ("a@remote.example",))
    assert received.content.endswith(b"\n\nIt is on its way.\n")


@scene("docs/sending.md", *(f"#{number}" for number in range(1, 8)))
def sending(stage: Stage) -> None:
    assert "smtp.example.org" in stage.block.text
    server = Server(stage.home)
    server.controller.start()
    try:
        ran = stage.run(server.place(stage.block.text), SSL_CERT_FILE=str(server.ca_file))
    finally:
        server.controller.stop()
    assert stage.block.prints is not None
    expected = stage.block.prints.replace("PIN", server.pin).replace("smtp.example.org", "localhost")
    assert ran.stdout == expected, ran.stderr


# The application around the program of docs/console.md, with a login page that lets everybody in as Maria.
SHOP = """
import sys
sys.path.insert(0, ".")
from shop_admin import admin_site
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource

from mailserver.accounts import StaticDirectory
from mailserver.service import build
from mailserver.settings import Settings

class LoginPage(Resource):
    def render_GET(self, request):
        request.getSession().user = "maria"
        return b"welcome"

settings = Settings(instance="mail", host_name="mx.example.org")
server = build(settings, reactor=reactor, directory=StaticDirectory(["orders@example.org"]))
site = admin_site(server)
site.resource.putChild(b"login", LoginPage())
application = Application("shop")
server.setServiceParent(application)
endpoint = serverFromString(reactor, "tcp:8025:interface=ADDRESS")
StreamServerEndpointService(endpoint, site).setServiceParent(application)
"""


@scene("docs/console.md", "shop_admin.py")
def console(stage: Stage) -> None:
    (stage.home / "shop.py").write_text(SHOP.replace("ADDRESS", stage.address))
    running = stage.start("twistd", "-ny", "shop.py", ready="Site starting")
    jar = urllib.request.HTTPCookieProcessor(CookieJar())
    browser = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)

    def seen(way: str) -> str:
        with browser.open(f"http://{stage.address}:8025/{way}", timeout=20) as response:
            text: str = response.read().decode()
            return text

    with pytest.raises(urllib.error.HTTPError, match="403"):
        seen("mail/")
    assert seen("login") == "welcome"
    assert "maria, administrator" in seen("mail/")
    ends_well(running)
