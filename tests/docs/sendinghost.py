"""The server that the programs of docs/sending.md talk to: another library's, with STARTTLS and AUTH."""

from __future__ import annotations

import socket
import ssl
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from mailserver.net.tls import certificate_pin, self_signed


class Host:
    """One recipient is known, one password and one token."""

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address != "anna@remote.example":
            return "550 5.1.1 nobody here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        return "250 2.0.0 taken"

    async def auth_XOAUTH2(self, server: Any, args: list[str]) -> AuthResult:
        good = b64decode(args[1]) == b"user=shop\x01auth=Bearer ya29.token\x01\x01"
        return AuthResult(success=good, auth_data="shop", handled=False)


def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"shop", b"secret"), handled=False)


class Server:
    """Its port, its certificate's file and pin."""

    def __init__(self, directory: Path) -> None:
        certificate, key = self_signed("smtp.example.org", time.time())
        self.ca_file, key_file = directory / "ca.pem", directory / "key.pem"
        self.ca_file.write_bytes(certificate)
        key_file.write_bytes(key)
        self.pin = certificate_pin(certificate)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.ca_file, key_file)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.controller = Controller(
            Host(), hostname="127.0.0.1", port=self.port, tls_context=context, authenticator=authenticate
        )

    def place(self, program: str) -> str:
        """The program with this server in it."""
        there = program.replace("smtp.example.org:587", f"localhost:{self.port}").replace(
            ", 587)", f", {self.port})"
        )
        return there.replace('"smtp.example.org"', '"localhost"').replace("port=587", f"port={self.port}")
