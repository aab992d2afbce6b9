"""What a listener may announce: only what the way of a message from here can honour.

The protocol core does all of `BASIC_EXTENSIONS` by itself: a chunk becomes lines, 8-bit text is octets like any
other. DSN and SMTPUTF8 are promises about what happens after the 250, and it is the realm of the listener whose
avatars keep them. So a realm says so by an attribute ``extensions``, with the keywords that its deliveries honour;
one that says nothing promises nothing. Our own realm honours both: the spool keeps every parameter, what the next
host does not know is reported by us, and what cannot be sent there without SMTPUTF8 or 8BITMIME goes back to its
sender (5.6.7, 5.6.3).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mailserver.smtp.limits import BASIC_EXTENSIONS, ONWARD_EXTENSIONS


def extensions_of(honours: Any, off: Iterable[str] = ()) -> frozenset[str]:
    """The EHLO keywords of a listener with the realm or factory `honours`, without those in `off`."""
    declared = frozenset(getattr(honours, "extensions", None) or ())
    return (BASIC_EXTENSIONS | (ONWARD_EXTENSIONS & declared)).difference(off)
