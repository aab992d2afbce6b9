"""The settings of what listens: addresses, TLS and its certificates, who may log in, whom a listener believes.

A part of the tree in `mailserver.settings.model`, which says what holds for all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mailserver.settings import forms
from mailserver.settings.forms import HostPort
from mailserver.settings.options import Section, option
from mailserver.settings.problem import quoted
from mailserver.smtp.limits import OFFERED

_COUNT = 1_000_000


def _extension(text: str) -> str:
    if text not in OFFERED:
        raise ValueError("no extension that could be offered")
    return text


_KEYWORDS = ", ".join(map(quoted, sorted(OFFERED)))
_EXTENSION = forms.Form(_extension, f"{_KEYWORDS} (STARTTLS goes by tls, AUTH by the role)")


@dataclass(frozen=True, kw_only=True)
class Listener(Section):
    """A service that listens. Its name is the table's: ``[listeners.NAME]``; in code it defaults to the role."""

    name: str = ""
    enabled: bool = option(default=True, doc="Whether it listens at all.", applies="live")
    role: str = option(
        doc="Who sends here: other servers (mx), our own users (submission), or a mail server before ours that"
        " hands over mail for our mailboxes (lmtp, RFC 2033; without login, and never for elsewhere).",
        choices=("mx", "submission", "lmtp"),
    )
    listen: Sequence[str] = option(
        default=(), doc="Where it listens, as ADDRESS:PORT; * is every address of the machine.", form=forms.LISTEN
    )
    tls: str = option(
        default="none",
        doc="TLS: none, offered by STARTTLS, or implicit from the first octet. Submission needs one of the two.",
        choices=("none", "starttls", "implicit"),
    )
    certificate: str = option(
        default="default", doc="What clients see that ask for no other one by name: a table of [certificates]."
    )
    portal: str = option(
        default="", doc="A realm of [plugins] whose mail application this listener runs; empty is our own."
    )
    checkers: Sequence[str] = option(
        default=(),
        doc="Who may log in: checkers of [plugins], or for strcred as TYPE:ARGUMENT; empty is our accounts.",
    )
    max_connections: int = option(
        default=1000, doc="Connections at once; more are answered 421.", minimum=1, maximum=_COUNT, applies="live"
    )
    max_connections_per_ip: int = option(
        default=50, doc="The same for one IP address; 0 is off.", minimum=0, maximum=_COUNT, applies="live"
    )
    idle_timeout: float = option(
        default=300,
        doc="A client that says nothing for so long is answered 421. RFC 5321 §4.5.3.2.7 asks for 300.",
        unit="seconds", minimum=1, maximum=86_400, applies="live",
    )  # fmt: skip
    extensions_off: Sequence[str] = option(
        default=(), doc="EHLO keywords that are not announced here, and not understood.", form=_EXTENSION
    )
    proxy_from: Sequence[str] = option(
        default=(),
        doc="Networks of proxies: each connection from them begins with a PROXY protocol header (version 1 or 2).",
        form=forms.NETWORK, applies="live",
    )  # fmt: skip
    xclient_from: Sequence[str] = option(
        default=(),
        doc="Networks whose hosts may say by XCLIENT who the client is. Its LOGIN is read and not believed.",
        form=forms.NETWORK, applies="live",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "name", self.name or self.role)

    @cached_property
    def addresses(self) -> tuple[HostPort, ...]:
        """``listen``, parsed."""
        return tuple(HostPort.parse(text) for text in self.listen)

    @cached_property
    def proxies(self) -> tuple[forms.Network, ...]:
        """``proxy_from``, parsed."""
        return tuple(forms.network(text) for text in self.proxy_from)

    @cached_property
    def xclients(self) -> tuple[forms.Network, ...]:
        """``xclient_from``, parsed."""
        return tuple(forms.network(text) for text in self.xclient_from)


@dataclass(frozen=True, kw_only=True)
class Certificate(Section):
    """A certificate for listeners, and for clients that ask for one of its names. Its own name is the table's:
    ``[certificates.NAME]``."""

    name: str = "default"
    chain: Path = option(  # noqa: RUF009  it makes a field
        doc="PEM file: the certificate, then those between it and its authority.", form=forms.PATH, applies="live"
    )
    key: Path = option(  # noqa: RUF009  it makes a field
        doc="PEM file: the private key, readable by the server alone.", form=forms.PATH, applies="live"
    )
