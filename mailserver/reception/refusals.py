"""What reception says, as replies. No internal reason stands in any of them: that is for the log.

With `mailserver.smtp.replies` this is the catalogue that ``docs/replies.md`` is made from. What the protocol core
and reception both say has one reply, which is the core's.
"""

from __future__ import annotations

from mailserver.smtp import replies
from mailserver.smtp.reply import Reply, reply

SENDER_OK = replies.SENDER_OK
RECIPIENT_OK = replies.RECIPIENT_OK
LOGGED_IN = replies.AUTHENTICATED
READY_FOR_TLS = replies.BEGIN_TLS
GO_AHEAD = replies.SEND_CONTENT
LOGIN_LATER = replies.NO_CAPACITY
NO_ROOM = replies.NO_ROOM
INTERNAL = replies.LOCAL_ERROR
STOPPING = replies.SHUTTING_DOWN

ACCEPTED = reply(
    250, (2, 0, 0), "Message accepted", meaning="The application behind this listener has stored the message."
)
NO_SUCH_USER = reply(
    550, (5, 1, 1), "No such user here",
    meaning="The domain is ours, and it has no account and no alias of this name.",
)  # fmt: skip
NO_RELAY = reply(
    550, (5, 7, 1), "Relaying denied: log in first, or send to an address of this server",
    meaning="The recipient is elsewhere, and the client neither logged in nor stands in `relay.networks`.",
)  # fmt: skip
NOT_YOUR_SENDER = reply(
    553, (5, 7, 1), "This sender does not belong to your account",
    meaning="MAIL after a login names a sender that is neither the account nor one of its aliases.",
)  # fmt: skip
BAD_LOGIN = reply(
    535, (5, 7, 8), "Authentication credentials invalid",
    meaning="The name or the password is wrong; which of them is told to nobody.",
)  # fmt: skip
SENDER_REFUSED = reply(
    550, (5, 7, 1), "Sender refused", meaning="The application behind this listener takes no mail without a login."
)
BAD_ADDRESS = reply(
    553, (5, 1, 3), "This address cannot be used here",
    meaning="The application behind this listener cannot express the address.",
)  # fmt: skip
NOT_NOW = reply(
    421, (4, 3, 0), "Mail system failure, closing connection",
    meaning="The queue cannot store mail, or a check of the connection failed; the server's log says why.",
)  # fmt: skip
LOOP = reply(
    554, (5, 4, 6), "Too many hops, this message is looping",
    meaning="The content has `max_hops` Received fields (RFC 5321 §6.3).",
)  # fmt: skip
TOO_MANY_CONNECTIONS = reply(
    421, (4, 7, 0), "Too many connections, try again later",
    meaning="The listener's connections are all taken, or this address has its share, or came too often.",
)  # fmt: skip
TOO_FAST = reply(
    450, (4, 7, 1), "Too much in one minute from your address, try again later",
    meaning="Over `messages_per_minute` or `recipients_per_minute` of [limits].",
)  # fmt: skip


def accepted(queue_id: str) -> Reply:
    """The message is stored, durably; it is ours now. The queue id is for questions about it."""
    return reply(250, (2, 0, 0), f"Accepted as {queue_id}")
