"""The control socket and its blocking client, over a real Unix socket."""

import json
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailserver.admin import socketserver
from mailserver.admin.client import Connection, NotRunning
from mailserver.admin.command import ControlError
from mailserver.admin.socketplace import MAX_NAME, place_problem
from mailserver.admin.socketserver import MAX_CONNECTIONS, MAX_LINE, ControlSocket


class Control:
    """Answers what its name says."""

    def __init__(self):
        self.asked = []
        self.wait = Deferred()

    async def run(self, name, arguments):
        self.asked.append((name, arguments))
        if name == "refuse":
            raise ControlError("not so")
        if name == "break":
            raise ZeroDivisionError("oops")
        if name == "wait":
            await self.wait
        if name == "stream":
            return self.stream()
        if name == "unsayable":
            return {"x": object()}
        return {"name": name, "arguments": arguments}

    async def stream(self):
        for number in range(3):
            yield {"n": number}


class Log:
    def __init__(self):
        self.failures = []

    def failure(self, what, error, /, **facts):
        self.failures.append((what, type(error).__name__, facts))


class SocketTests(TestCase):
    timeout = 20

    def setUp(self):
        # Longer than the path of a Unix socket may be.
        self.base = Path(tempfile.mkdtemp(prefix="control-"))
        self.path = self.base / ("a" * 100) / "run" / "control.sock"
        self.path.parent.parent.mkdir()
        self.control, self.log = Control(), Log()
        self.socket = ControlSocket(self.path, self.control, reactor, self.log)
        self.socket.start()

    async def tearDown(self):
        await self.socket.stop()
        shutil.rmtree(self.base)

    def ask(self, name, **arguments):
        return deferToThread(self._ask, name, arguments)

    def _ask(self, name, arguments):
        with Connection(self.path, 10) as connection:
            return list(connection.run(name, arguments))

    def raw(self, octets, until=b"\n"):
        """What comes back for `octets`, up to the end of the connection or `until`."""

        def talk():
            with Connection(self.path, 10) as connection:
                connection._socket.sendall(octets)
                answer = b""
                while not answer.endswith(until):
                    piece = connection._socket.recv(65536)
                    if not piece:
                        break
                    answer += piece
                return answer

        return deferToThread(talk)

    async def test_reply(self):
        assert await self.ask("x", a=1) == [{"name": "x", "arguments": {"a": 1}}]

    async def test_stream(self):
        assert await self.ask("stream") == [{"n": 0}, {"n": 1}, {"n": 2}]

    async def test_refusal(self):
        with pytest.raises(ControlError, match=r"^not so$"):
            await self.ask("refuse")
        assert self.log.failures == []

    async def test_a_bug_is_logged_and_said_in_one_sentence(self):
        with pytest.raises(ControlError, match=r"^internal error \(ZeroDivisionError\); the server's log"):
            await self.ask("break")
        assert self.log.failures == [("a control command failed", "ZeroDivisionError", {"command": "break"})]

    async def test_a_reply_that_is_no_json(self):
        with pytest.raises(ControlError, match="internal error"):
            await self.ask("unsayable")

    async def test_requests_are_answered_in_order(self):
        answered = self.raw(b'{"command": "wait"}\n{"command": "b"}\n{"command": "refuse"}\n', b'"not so"}\n')
        while not self.control.asked:
            await deferToThread(lambda: None)
        assert [name for name, _ in self.control.asked] == ["wait"]
        self.control.wait.callback(None)
        lines = [json.loads(line) for line in (await answered).splitlines()]
        assert lines[0]["reply"]["name"] == "wait"
        assert lines[1]["reply"]["name"] == "b"
        assert lines[2] == {"error": "not so"}

    async def test_requests_that_make_no_sense(self):
        for line, words in (
            (b"hello", "one JSON object"),
            (b"\xff", "one JSON object"),
            (b"[" * 100_000, "one JSON object"),
            (b"[1]", 'has a "command"'),
            (b'{"command": 3}', 'has a "command"'),
            (b'{"command": "x", "arguments": [1]}', '"arguments" is an object'),
        ):
            assert words in json.loads(await self.raw(line + b"\n"))["error"], line[:20]
        assert self.control.asked == []
        assert self.log.failures == []

    async def test_a_line_has_a_bound(self):
        answer = await self.raw(b"x" * (MAX_LINE + 1))
        assert json.loads(answer) == {"error": f"a request has at most {MAX_LINE} octets"}

    async def test_a_client_that_goes_disturbs_nobody(self):
        def begin():
            with Connection(self.path, 10) as connection:
                connection._socket.sendall(b'{"command": "wait"}\n')

        await deferToThread(begin)
        while not self.control.asked:
            await deferToThread(lambda: None)
        self.control.wait.callback(None)
        assert await self.ask("x") == [{"name": "x", "arguments": {}}]
        assert self.log.failures == []

    def test_the_socket_is_private(self):
        assert stat.S_IMODE(self.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(self.path.parent.stat().st_mode) == 0o700

    def refused(self, path, words):
        with pytest.raises(ControlError, match=words):
            ControlSocket(path, self.control, reactor, self.log).start()

    def test_a_directory_that_is_there_is_judged_and_not_changed(self):
        for mode in (0o755, 0o1777, 0o770):
            shared = self.base / f"shared{mode}"
            shared.mkdir()
            shared.chmod(mode)
            self.refused(shared / "control.sock", rf"{shared} is open to other users \(mode {mode:04o}\)")
            assert stat.S_IMODE(shared.stat().st_mode) == mode
            assert list(shared.iterdir()) == []

    def test_a_directory_of_another_user(self):
        closed = self.base / "closed"
        closed.mkdir(mode=0o700)
        owner = os.geteuid()
        self.patch(os, "geteuid", lambda: owner + 4000)
        if owner:
            self.refused(closed / "control.sock", "belongs to the user ")
        else:  # root's own is nobody's trap
            assert place_problem(closed / "control.sock") == ""

    def test_only_the_last_directory_is_made(self):
        self.refused(self.base / "x" / "y" / "control.sock", rf"{self.base}/x does not exist; make this")
        assert not (self.base / "x").exists()

    def test_a_name_that_is_too_long(self):
        self.refused(self.path.with_name("s" * 90), "has 90 octets, and a socket's has at most 80")

    async def test_the_longest_name(self):
        longest = ControlSocket(self.path.with_name("s" * MAX_NAME), self.control, reactor, self.log)
        longest.start()
        await longest.stop()

    async def test_other_users_are_refused(self):
        self.patch(socketserver, "peer_uid", lambda connection: os.geteuid() + 1)
        with pytest.raises(ControlError, match="for root and the server's own user"):
            await self.ask("x")
        assert self.control.asked == []

    def test_the_kernel_says_who_the_peer_is(self):
        one, other = socket.socketpair(socket.AF_UNIX)
        with one, other:
            assert socketserver.peer_uid(one) == os.geteuid()

    async def test_connections_have_a_bound(self):
        held = []
        self.addCleanup(lambda: [each.__exit__() for each in held])

        def hold():
            held.extend(Connection(self.path, 10) for _ in range(MAX_CONNECTIONS))
            # Answered, so they are all counted.
            for each in held:
                list(each.run("x", {}))

        await deferToThread(hold)
        with pytest.raises(ControlError, match="administrators are connected already"):
            await self.ask("x")

    async def test_a_dead_servers_socket_is_replaced(self):
        await self.socket.stop()
        with socket.socket(socket.AF_UNIX) as dead:
            here = os.open(self.path.parent, os.O_PATH)
            dead.bind(f"/proc/self/fd/{here}/{self.path.name}")
            os.close(here)
        with pytest.raises(NotRunning):
            await self.ask("x")
        self.socket.start()
        assert await self.ask("x") == [{"name": "x", "arguments": {}}]

    async def test_after_stop_nobody_is_there(self):
        await self.socket.stop()
        assert not self.path.exists()
        with pytest.raises(NotRunning):
            await self.ask("x")

    async def test_a_socket_that_somebody_removed_does_not_stop_the_stop(self):
        self.path.unlink()
        await self.socket.stop()
        assert self.log.failures == [("the control socket was gone", "FileNotFoundError", {"path": self.path})]

    async def test_a_file_in_its_place_is_left_alone(self):
        await self.socket.stop()
        self.path.write_text("mine")
        with pytest.raises(ControlError, match="cannot be made: Address already in use"):
            self.socket.start()
        assert self.path.read_text() == "mine"

    async def test_a_server_that_stops_while_it_is_asked(self):
        answered = self.ask("wait")
        while not self.control.asked:
            await deferToThread(lambda: None)
        await self.socket.stop()
        with pytest.raises(ControlError, match="closed the connection before it answered"):
            await answered
