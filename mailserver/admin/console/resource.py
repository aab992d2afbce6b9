"""The console as a ``twisted.web`` resource: ``site_root.putChild(b"mail", ConsoleResource(control, login=who))``.

``login`` is the application's: it is called with each request, and answers an `Operator`, or None for a
stranger, or an awaitable of these. A stranger gets 403, and nothing else but the style sheet. What a login
raises, and any other answer, lets nobody in.

Every path, method and id is checked against a table before anything runs. All answers forbid scripts, frames,
foreign content, sniffing and storing. No exception leaves: a refusal of the server is a page with its sentence,
a bug of ours is a 500 that says nothing, and is logged by ``twisted.logger``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from inspect import isawaitable
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.template import flattenString

from mailserver.admin.command import ControlError
from mailserver.admin.console.accountpages import accounts
from mailserver.admin.console.frame import STYLE, document, note
from mailserver.admin.console.overview import overview
from mailserver.admin.console.queuepages import confirm, listing, message, remove, retry
from mailserver.admin.console.seal import Seal
from mailserver.admin.console.visit import NotAllowed, Operator, Page, Visit
from mailserver.admin.control import Control
from mailserver.clock import SystemClock
from mailserver.interfaces import IClock, MailServerError
from mailserver.message.prepared import milliseconds_of

Login = Callable[[Any], Operator | Awaitable[Operator | None] | None]
_Handler = Callable[[Visit], Awaitable[Page]]

# Where {id} stands for a queue id.
_ROUTES: Mapping[tuple[str, ...], Mapping[str, _Handler]] = {
    ("",): {"GET": overview},
    ("queue",): {"GET": listing},
    ("queue", "{id}"): {"GET": message},
    ("queue", "{id}", "retry"): {"POST": retry},
    ("queue", "{id}", "remove"): {"GET": confirm, "POST": remove},
    ("accounts",): {"GET": accounts},
}
_HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
_log = Logger()


class ConsoleResource(Resource):
    """`control` is a server's (``server.control``), `login` the application's. `clock` is there for tests."""

    # Paths are looked up in a table of ours, not in a tree of children.
    isLeaf = True

    def __init__(self, control: Control, login: Login, clock: IClock | None = None) -> None:
        super().__init__()
        self._control = control
        self._login = login
        self._seal = Seal(clock or SystemClock())
        self._style = files(__package__).joinpath(STYLE).read_bytes()

    def render(self, request: Any) -> int:
        """Answer the request, now or later."""
        for name, value in _HEADERS:
            request.setHeader(name, value)
        left: list[Any] = []
        request.notifyFinish().addErrback(left.append)
        answer = Deferred.fromCoroutine(self._answer(request, left))
        answer.addErrback(_broken, request, left)
        return NOT_DONE_YET

    async def _answer(self, request: Any, left: Sequence[Any]) -> None:
        way = tuple(request.postpath)
        if way == (STYLE.encode(),) and request.method in (b"GET", b"HEAD"):
            _send(request, 200, "text/css; charset=utf-8", self._style)
            return
        operator, page = await self._page(request, way)
        html = await flattenString(request, document(page, _root(way), operator))
        if not left:
            for name, value in (*page.headers, *([("Location", page.location)] if page.location else [])):
                request.setHeader(name, value)
            _send(request, page.code, "text/html; charset=utf-8", b"<!DOCTYPE html>\n" + html)

    async def _page(self, request: Any, way: tuple[bytes, ...]) -> tuple[Operator | None, Page]:
        """Who asks, and what they get to see."""
        try:
            operator = await self._who(request)
        except Exception:
            _log.failure("the login of the console failed")
            return None, _refusal(500, "No login", "The login does not work; the application's log says why.")
        if operator is None:
            return None, _refusal(403, "Not logged in", "This page is for operators who have logged in.")
        if not way:
            # Relative links need the slash. A name with a colon must not be read as a scheme.
            name = quote(request.prepath[-1] if request.prepath else b"", safe="")
            return operator, Page("Moved", code=302, location=f"./{name}/" if name else "./")
        return operator, await self._routed(request, way, operator)

    async def _who(self, request: Any) -> Operator | None:
        answer: Any = self._login(request)
        if isawaitable(answer):
            answer = await answer
        if answer is not None and not isinstance(answer, Operator):
            raise TypeError(f"the login of a console answers an Operator or None, not {type(answer).__name__}")
        return answer

    async def _routed(self, request: Any, way: tuple[bytes, ...], operator: Operator) -> Page:
        pattern, queue_id = _pattern(way)
        handlers = _ROUTES.get(pattern)
        if handlers is None:
            return _refusal(404, "No such page", "There is nothing here.")
        method = request.method.decode("ascii", "replace")
        handler = handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            return _not_that_way(handlers)
        visit = Visit(operator, self._control, self._seal, _root(way), _arguments(request), queue_id)
        return await _handled(handler, visit)


async def _handled(handler: _Handler, visit: Visit) -> Page:
    """The page of a handler, or the one that says why there is none."""
    try:
        return await handler(visit)
    except NotAllowed:
        return _refusal(403, "Not allowed", "That is for administrators. Nothing was changed.")
    except ControlError as refused:
        return _refusal(400, "That cannot be done", str(refused))
    except MailServerError as trouble:
        return _refusal(503, "Not now", str(trouble))
    except Exception:
        _log.failure("a page of the console failed")
        return _refusal(500, "An error of ours", "The page could not be made; the log says why.")


def _pattern(way: tuple[bytes, ...]) -> tuple[tuple[str, ...], str]:
    """The key into the table, and the queue id; a key that is not there where the path is no text."""
    try:
        words = [word.decode("ascii") for word in way]
        queue_id = words[1] if len(words) > 1 else ""
        if queue_id:
            milliseconds_of(queue_id)
            words[1] = "{id}"
    except ValueError:
        return (), ""
    return tuple(words), queue_id


def _root(way: tuple[bytes, ...]) -> str:
    """The way from the page at `way` to the console's root."""
    return "../" * (len(way) - 1) or "./"


def _arguments(request: Any) -> dict[str, str]:
    return {
        name.decode("utf-8", "replace"): values[-1].decode("utf-8", "replace")
        for name, values in request.args.items()
    }


def _refusal(code: int, title: str, sentence: str) -> Page:
    return Page(title, (note(sentence, "bad"),), code=code)


def _not_that_way(handlers: Mapping[str, _Handler]) -> Page:
    allowed = ", ".join("GET, HEAD" if name == "GET" else name for name in handlers)
    page = _refusal(405, "Not that way", f"This page knows only {allowed}.")
    return Page(page.title, page.content, code=405, headers=(("Allow", allowed),))


def _broken(failure: Failure, request: Any, left: Sequence[Any]) -> None:
    """What was to be sent could not be made. The visitor does not wait for it."""
    _log.failure("an answer of the console failed", failure)
    if not (left or request.startedWriting):
        _send(request, 500, "text/plain; charset=utf-8", b"The page could not be made; the log says why.\n")


def _send(request: Any, code: int, kind: str, octets: bytes) -> None:
    request.setResponseCode(code)
    request.setHeader("Content-Type", kind)
    request.setHeader("Content-Length", str(len(octets)))
    request.write(octets)
    request.finish()
