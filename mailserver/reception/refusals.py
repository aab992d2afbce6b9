"""What reception says, as replies. No internal reason stands in any of them: that is for the log."""

from __future__ import annotations

from mailserver.smtp.reply import reply

SENDER_OK = reply(250, (2, 1, 0), "Sender ok")
RECIPIENT_OK = reply(250, (2, 1, 5), "Recipient ok")
LOGGED_IN = reply(235, (2, 7, 0), "Authentication successful")
READY_FOR_TLS = reply(220, (2, 0, 0), "Ready to start TLS")
GO_AHEAD = reply(354, None, "Start mail input; end with <CRLF>.<CRLF>")

NO_SUCH_USER = reply(550, (5, 1, 1), "No such user here")
NO_RELAY = reply(550, (5, 7, 1), "Relaying denied: log in first, or send to an address of this server")
NOT_YOUR_SENDER = reply(553, (5, 7, 1), "This sender does not belong to your account")
BAD_LOGIN = reply(535, (5, 7, 8), "Authentication credentials invalid")
LOGIN_LATER = reply(454, (4, 7, 0), "Temporary authentication failure, try again later")
SENDER_REFUSED = reply(550, (5, 7, 1), "Sender refused")
NO_ROOM = reply(452, (4, 3, 1), "Insufficient system storage, try again later")
NOT_NOW = reply(421, (4, 3, 0), "Mail system failure, closing connection")
INTERNAL = reply(451, (4, 3, 0), "Local error in processing, try again later")
LOOP = reply(554, (5, 4, 6), "Too many hops, this message is looping")
TOO_MANY_CONNECTIONS = reply(421, (4, 7, 0), "Too many connections, try again later")
TOO_FAST = reply(450, (4, 7, 1), "Too much in one minute from your address, try again later")
STOPPING = reply(421, (4, 3, 2), "Service is shutting down, try again later")
