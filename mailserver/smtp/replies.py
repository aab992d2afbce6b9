"""Every reply that the server core says by itself, by name.

The texts are calm, name no software and no version, and give a stranger no internal reason. Codes are those
of RFC 5321 §4.2.3 and of the extension that is named; enhanced statuses those of RFC 5248.
"""

from __future__ import annotations

from mailserver.smtp.reply import Reply, reply

OK = reply(250, (2, 0, 0), "Ok")
SENDER_OK = reply(250, (2, 1, 0), "Sender ok")
RECIPIENT_OK = reply(250, (2, 1, 5), "Recipient ok")
SEND_CONTENT = reply(354, None, "End content with <CR><LF>.<CR><LF>")
AUTHENTICATED = reply(235, (2, 7, 0), "Authentication successful")
BEGIN_TLS = reply(220, (2, 0, 0), "Ready to start TLS")
GOODBYE = reply(221, (2, 0, 0), "Goodbye")
CANNOT_VERIFY = reply(252, (2, 5, 2), "Cannot verify, but will try to deliver")
HELP = reply(
    214, (2, 0, 0), "Commands: EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP STARTTLS AUTH QUIT", "See RFC 5321"
)

# Syntax.
UNKNOWN_COMMAND = reply(500, (5, 5, 2), "Command not recognized")
BAD_CHARACTERS = reply(500, (5, 5, 2), "Command has octets that are not allowed")
LINE_TOO_LONG = reply(500, (5, 5, 2), "Line too long")
BARE_LF = reply(500, (5, 5, 2), "Lines end with <CR><LF>")
BAD_ARGUMENT = reply(501, (5, 5, 4), "Argument missing or malformed")
NO_ARGUMENT = reply(501, (5, 5, 4), "This command takes no argument")
BAD_HELLO = reply(501, (5, 5, 4), "A host name or address literal is needed")
MAIL_SYNTAX = reply(501, (5, 5, 4), "Syntax: MAIL FROM:<address> [parameters]")
RCPT_SYNTAX = reply(501, (5, 5, 4), "Syntax: RCPT TO:<address> [parameters]")
BAD_PARAMETER = reply(501, (5, 5, 4), "Parameter malformed or given twice")
UNKNOWN_PARAMETER = reply(555, (5, 5, 4), "Parameter not recognized")
NEEDS_SMTPUTF8 = reply(553, (5, 6, 7), "Address with non-ASCII characters needs SMTPUTF8")
NOT_IMPLEMENTED = reply(502, (5, 5, 1), "Command not implemented")

# Sequence (RFC 5321 §4.1.4).
HELLO_FIRST = reply(503, (5, 5, 1), "Send EHLO first")
MAIL_FIRST = reply(503, (5, 5, 1), "Send MAIL first")
NESTED_MAIL = reply(503, (5, 5, 1), "A transaction is open already")
IN_TRANSACTION = reply(503, (5, 5, 1), "Not permitted in a transaction")
NO_SERVICE = reply(503, (5, 5, 1), "No service here; send QUIT")
NO_VALID_RECIPIENTS = reply(554, (5, 5, 1), "No valid recipients")
TLS_ALREADY = reply(503, (5, 5, 1), "TLS is on already")

# Authentication and TLS (RFC 4954 §4 and §6, RFC 3207 §4).
ALREADY_AUTHENTICATED = reply(503, (5, 5, 1), "Authenticated already")
AUTH_REQUIRED = reply(530, (5, 7, 0), "Authentication required")
STARTTLS_FIRST = reply(530, (5, 7, 0), "Must issue a STARTTLS command first")
ENCRYPTION_NEEDED = reply(538, (5, 7, 11), "Encryption required for authentication")
UNKNOWN_MECHANISM = reply(504, (5, 5, 4), "Authentication mechanism not supported")
AUTH_CANCELLED = reply(501, (5, 7, 0), "Authentication cancelled")
BAD_BASE64 = reply(501, (5, 5, 2), "Cannot decode the response")
AUTH_LINE_TOO_LONG = reply(500, (5, 5, 6), "Authentication line too long")

# Limits and content.
TOO_MANY_RECIPIENTS = reply(452, (4, 5, 3), "Too many recipients")
TOO_LARGE = reply(552, (5, 3, 4), "Message too large")
BARE_LINE_END = reply(550, (5, 6, 11), "Content has a bare CR or LF")
HAS_NUL = reply(550, (5, 6, 0), "Content has a NUL octet")
CONTENT_LINE_TOO_LONG = reply(550, (5, 6, 0), "Content has a line that is too long")

# Ends. 421 may come at any time (RFC 5321 §3.8).
TOO_MANY_ERRORS = reply(421, (4, 7, 0), "Too many errors; closing")
TOO_MANY_COMMANDS = reply(421, (4, 7, 0), "Too many commands; closing")
ENDLESS = reply(421, (4, 7, 0), "The end of your input is not in sight; closing")
TIMED_OUT = reply(421, (4, 4, 2), "Timed out; closing")
SHUTTING_DOWN = reply(421, (4, 3, 2), "Service is stopping; try again later")
BROKEN = reply(421, (4, 3, 0), "Local error; closing")
LOCAL_ERROR = reply(451, (4, 3, 0), "Local error; try again later")
NO_ROOM = reply(452, (4, 3, 1), "No room for this message; try again later")
NO_CAPACITY = reply(454, (4, 7, 0), "Temporary authentication failure; try again later")


def greeting(host_name: str) -> Reply:
    """What a server says first (RFC 5321 §4.3.1)."""
    return Reply(220, None, (f"{host_name} ESMTP",))
