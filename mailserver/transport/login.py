"""The login at the smart host: whose it is, and where its password is.

The password file is read when it is first needed, thus as the user that the server runs as, and again after it
could not be read. The login goes to the smart host of the settings and to nobody else, however a route came to
another host. What is wrong with the file leaves as :class:`LoginProblem`: mail waits, and the sentence is seen
in the queue.
"""

from __future__ import annotations

from mailserver.interfaces import MailServerError
from mailserver.settings.forms import HostPort
from mailserver.settings.model import Settings
from mailserver.smtp.plan import Login
from mailserver.transport.hosts import split_destination


class LoginProblem(MailServerError):
    """The password cannot be read; ``str()`` says what to do."""


class SmartHostLogin:
    """Call it with a destination (``[smtp.example.net]:587``) for the login to use there, or None."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        relay = settings.relay
        self._host = HostPort.parse(relay.smart_host) if relay.smart_host and relay.smart_host_user else None
        self._login: Login | None = None

    def __call__(self, destination: str) -> Login | None:
        """Raises LoginProblem."""
        if self._host is None or not destination.startswith("["):
            return None
        if split_destination(destination, self._settings.relay.port) != self._host:
            return None
        if self._login is None:
            self._login = Login(self._settings.relay.smart_host_user, self._password())
        return self._login

    def _password(self) -> str:
        path = self._settings.path(self._settings.relay.smart_host_password_file)
        try:
            first = path.read_text().split("\n", 1)[0].rstrip("\r")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise LoginProblem(f"relay.smart_host_password_file: {path} cannot be read: {reason}") from None
        if not first:
            raise LoginProblem(f"relay.smart_host_password_file: the first line of {path} is empty")
        return first
