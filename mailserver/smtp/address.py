"""Mail addresses, parsed once at the edge into values (RFC 5321 §4.1.2, RFC 6531 §3.3).

:meth:`Mailbox.parse` reads what people write (``anna@example.org``), :func:`parse_path` what stands behind
``MAIL FROM:`` and ``RCPT TO:``. The values hold what an address *means*: a quoted local part without its
quotes, a domain in lower case and as A-labels. ``str()`` and :meth:`Mailbox.wire` quote again where it is
needed, so that ``Mailbox.parse(str(mailbox)) == mailbox`` for everything but the null reverse-path.

Never accepted, whatever the form: control characters, CR, LF, NUL, invisible characters, and characters that
normalise to ASCII (a full-width ``＠`` is no ``@``, but the next program may think so).

Everything refused leaves as :class:`AddressError`, whose text is one sentence for a person.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from string import ascii_letters, ascii_lowercase, digits

# RFC 5321 §4.5.3.1.1 and §4.5.3.1.2, in octets; RFC 1035 §2.3.4 for the label.
MAX_LOCAL_PART = 64
MAX_DOMAIN = 255
# RFC 5321 §4.5.3.1.3.
MAX_ROUTE = 256
MAX_LABEL = 63

_ATEXT = frozenset(ascii_letters + digits + "!#$%&'*+-/=?^_`{|}~.")
_LDH = frozenset(ascii_lowercase + digits + "-.")
_BAD_DOT_STRING = "the part before the @ has a character or a dot where none may stand without quotes"
_DCONTENT = frozenset(map(chr, (*range(33, 91), *range(94, 127))))


class AddressError(ValueError):
    """The text is no mail address; ``str()`` says why."""


class NonAsciiError(AddressError):
    """The address needs SMTPUTF8, which was not asked for (RFC 6531 §3.5: 553 5.6.7)."""


@dataclass(frozen=True, slots=True)
class Domain:
    """``name`` is folded to lower case; A-labels and U-labels of one name compare equal (A-label kept).

    An address literal keeps its brackets, with the address in its canonical form: ``[192.0.2.1]``,
    ``[IPv6:2001:db8::1]``.
    """

    name: str

    def __str__(self) -> str:
        return self.name

    @property
    def is_literal(self) -> bool:
        """True for ``[192.0.2.1]`` and its like."""
        return self.name.startswith("[")

    @classmethod
    def parse(cls, text: str) -> Domain:
        """Read a domain name or an address literal. Raises AddressError."""
        name = text.lower()
        if not name.isascii():
            name = _to_a_labels(name)
        if name.startswith("["):
            return cls(_literal(text))
        if not _LDH.issuperset(name):
            raise AddressError("a domain has only letters, digits, hyphens and dots")
        if not name or name[0] in ".-" or name[-1] in ".-" or ".." in name or ".-" in name or "-." in name:
            raise AddressError("a part of the domain is empty, or begins or ends with a hyphen")
        if len(name) > MAX_LABEL:
            _check_lengths(name)
        return cls(name)


def _check_lengths(name: str) -> None:
    if len(name) > MAX_DOMAIN:
        raise AddressError(f"the domain is longer than {MAX_DOMAIN} octets")
    if max(map(len, name.split("."))) > MAX_LABEL:
        raise AddressError(f"a part of the domain is longer than {MAX_LABEL} octets")


def _to_a_labels(name: str) -> str:
    # A conversion costs what a hundred commands do: a name that cannot fit in the end is refused before it.
    # The A-label of a label that is not ASCII has "xn--" and two characters at least (RFC 3492).
    if (
        len(name) > MAX_DOMAIN
        or sum(len(label) if label.isascii() else 6 for label in name.split(".")) > MAX_DOMAIN
    ):
        raise AddressError(f"the domain is longer than {MAX_DOMAIN} octets")
    # Imported here: idna's tables cost more than the rest of this package, and few sessions need them.
    import idna  # noqa: PLC0415

    normal = unicodedata.normalize("NFC", name)
    try:
        return ".".join(
            label if label.isascii() else idna.alabel(label).decode("ascii") for label in normal.split(".")
        )
    except UnicodeError:
        raise AddressError("the domain is not a valid internationalized name") from None


def _literal(text: str) -> str:
    if not text.endswith("]") or len(text) > MAX_DOMAIN:
        raise AddressError("an address literal ends with ] and has at most 255 octets")
    inner = text[1:-1]
    tag, colon, rest = inner.partition(":")
    try:
        if not colon:
            return f"[{IPv4Address(inner)}]"
        if tag.lower() == "ipv6":
            return f"[IPv6:{_ipv6(rest)}]"
    except AddressValueError:
        raise AddressError("the address literal has no valid IP address") from None
    if not rest or not _LDH.issuperset(tag.lower()) or not tag[-1:].isalnum() or "." in tag:
        raise AddressError("the address literal has no valid tag")
    if not _DCONTENT.issuperset(rest):
        raise AddressError("the address literal has a character that is not allowed")
    return f"[{tag.lower()}:{rest}]"


def _ipv6(text: str) -> IPv6Address:
    if "%" in text:
        raise AddressValueError("a scope means nothing to another host")
    return IPv6Address(text)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """``local_part`` unquoted and case kept; ``domain`` None for the null reverse-path and bare <postmaster>."""

    local_part: str
    domain: Domain | None

    @classmethod
    def parse(cls, text: str, *, smtputf8: bool = True) -> Mailbox:
        """Read ``local-part@domain``, or the bare word ``postmaster`` (RFC 5321 §4.5.1). Raises AddressError.

        With `smtputf8` false an address with non-ASCII characters raises NonAsciiError.
        """
        if not smtputf8 and not text.isascii():
            raise NonAsciiError("an address with non-ASCII characters needs SMTPUTF8")
        if text.startswith('"'):
            local, rest = _unquote(text)
            at, name = rest[:1], rest[1:]
        else:
            local, at, name = text.partition("@")
            if not at and local.lower() == "postmaster":
                return cls("postmaster", None)
            if not _is_dot_string(local):
                raise AddressError(_BAD_DOT_STRING if local else "the part before the @ is empty")
        if not at:
            raise AddressError("the address has no @")
        if len(local) > MAX_LOCAL_PART or not local.isascii():
            _check_local_part(local)
        return cls(local, Domain.parse(name))

    def __str__(self) -> str:
        local = self.local_part
        if not _is_dot_string(local) and not self.is_null:
            local = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return f"{local}@{self.domain.name}" if self.domain else local

    def wire(self) -> bytes:
        """As it stands between the angle brackets of a path, in UTF-8."""
        return str(self).encode()

    @property
    def is_null(self) -> bool:
        """True for the null reverse-path ``<>``."""
        return not self.local_part and self.domain is None

    @property
    def ascii(self) -> bool:
        """True when the address can be sent without SMTPUTF8."""
        return self.local_part.isascii()


NULL = Mailbox("", None)


def parse_path(text: str, *, smtputf8: bool) -> tuple[Mailbox, str]:
    """Read ``<path>`` at the start of `text`; answers the mailbox and what follows (RFC 5321 §4.1.2).

    ``<>`` is :data:`NULL`; a source route is checked and ignored (RFC 5321 §4.1.1.3, appendix C). What
    follows is empty or began with a space, which is cut off. Raises AddressError.
    """
    if not text.startswith("<"):
        raise AddressError("an address stands in angle brackets")
    end = text.find(">") if '"' not in text else _end_of_path(text)
    if end < 0:
        raise AddressError("the closing angle bracket is missing")
    inner, rest = text[1:end], text[end + 1 :]
    if rest and not rest.startswith(" "):
        raise AddressError("a space separates the address from what follows")
    if not inner:
        return NULL, rest[1:]
    if inner.startswith("@"):
        inner = _without_route(inner, smtputf8)
    return Mailbox.parse(inner, smtputf8=smtputf8), rest[1:]


def as_written(text: str) -> str:
    """The ``<path>`` at the start of `text` (a path that :func:`parse_path` has read), with its brackets."""
    end = text.find(">") if '"' not in text else _end_of_path(text)
    return text[: end + 1]


def _end_of_path(text: str) -> int:
    """The place of the first ``>`` outside of a quoted string, or -1."""
    quoted = escaped = False
    for place, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == ">" and not quoted:
            return place
    return -1


def _without_route(path: str, smtputf8: bool) -> str:
    # A literal in a route may hold colons: the route ends at the first colon outside of brackets.
    end, depth = 0, 0
    while end < len(path) and (path[end] != ":" or depth):
        depth += (path[end] == "[") - (path[end] == "]")
        end += 1
    if end == len(path):
        raise AddressError("the source route has no end")
    if len(path[:end].encode()) > MAX_ROUTE:
        raise AddressError(f"the source route is longer than {MAX_ROUTE} octets")
    for hop in path[:end].split(","):
        if not hop.startswith("@") or (not smtputf8 and not hop.isascii()):
            raise AddressError("the source route has a part that is no domain")
        # The route is thrown away (RFC 5321 §4.1.1.3): whether a name could be converted is not worth the work.
        Domain.parse("".join(c if c.isascii() else "x" for c in hop[1:]))
    return path[end + 1 :]


def _is_dot_string(local: str) -> bool:
    if not _ATEXT.issuperset(local) and (
        local.isascii() or not _ATEXT.issuperset(c for c in local if c.isascii())
    ):
        return False
    return bool(local) and local[0] != "." and local[-1] != "." and ".." not in local


def _unquote(text: str) -> tuple[str, str]:
    """The value of the quoted string at the start of `text`, and what follows it."""
    value, place, end = [], 1, len(text)
    while place < end and text[place] != '"':
        place += text[place] == "\\"
        if place == end or not _may_be_quoted(text[place]):
            raise AddressError("the quoted part before the @ has a character that may not stand there")
        value.append(text[place])
        place += 1
    if place >= end:
        raise AddressError("the quoted part before the @ has no closing quote")
    if not value:
        raise AddressError("the quoted part before the @ is empty")
    return "".join(value), text[place + 1 :]


def _may_be_quoted(character: str) -> bool:
    return " " <= character <= "~" or not character.isascii()


def _check_local_part(local: str) -> None:
    """Limits in octets, and which non-ASCII characters may stand in a local part (RFC 6531 §3.3)."""
    try:
        octets = len(local.encode())
    except UnicodeEncodeError:
        raise AddressError("the part before the @ is not valid Unicode") from None
    if octets > MAX_LOCAL_PART:
        raise AddressError(f"the part before the @ is longer than {MAX_LOCAL_PART} octets")
    for character in local:
        # C* are controls, formats (bidirectional overrides among them), private use; Z* are separators.
        if not character.isascii() and (unicodedata.category(character)[0] in "CZ" or _folds_to_ascii(character)):
            raise AddressError("the part before the @ has an invisible or ambiguous character")


def _folds_to_ascii(character: str) -> bool:
    return any(part.isascii() for part in unicodedata.normalize("NFKC", character))
