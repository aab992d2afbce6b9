"""Every reply that the server core says by itself, by name.

The texts are calm, name no software and no version, and give a stranger no internal reason. Codes are those
of RFC 5321 §4.2.3 and of the extension that is named; enhanced statuses those of RFC 5248. Each reason has a
reply of its own, and each reply says in its ``meaning`` when it is said and what a client or its user can do.

This module and `mailserver.reception.refusals` are the whole catalogue: every constant that is a
:class:`~mailserver.smtp.reply.Reply`, and every function that answers one, whose docstring is its meaning and
whose parameters are the words that vary. ``docs/replies.md`` is made from them.
"""

from __future__ import annotations

from mailserver.smtp.reply import Reply, reply

OK = reply(250, (2, 0, 0), "Ok", meaning="The command was done.")
SENDER_OK = reply(250, (2, 1, 0), "Sender ok", meaning="MAIL was accepted: a transaction is open.")
RECIPIENT_OK = reply(
    250, (2, 1, 5), "Recipient ok", meaning="RCPT was accepted: this recipient is in the transaction."
)
SEND_CONTENT = reply(
    354, None, "End content with <CR><LF>.<CR><LF>", meaning="DATA was accepted: the content may come."
)
CHUNK_OK = reply(
    250, (2, 0, 0), "Chunk received",
    meaning="A BDAT that is not the last one was received. The message is not accepted before BDAT LAST.",
)  # fmt: skip
AUTHENTICATED = reply(235, (2, 7, 0), "Authentication successful", meaning="The login is known now.")
BEGIN_TLS = reply(
    220, (2, 0, 0), "Ready to start TLS", meaning="STARTTLS was accepted: TLS begins with the next octet."
)
GOODBYE = reply(221, (2, 0, 0), "Goodbye", meaning="The answer to QUIT; the connection closes.")
CANNOT_VERIFY = reply(
    252, (2, 5, 2), "Cannot verify, but will try to deliver",
    meaning="The answer to every VRFY: whether a mailbox exists is told to nobody, known or not (RFC 5321 §7.3).",
)  # fmt: skip
HELP = reply(
    214, (2, 0, 0), "Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP STARTTLS AUTH QUIT",
    "See RFC 5321", meaning="The answer to HELP. Some of the commands may be switched off; EHLO says which.",
)  # fmt: skip
LMTP_HELP = reply(
    214, (2, 0, 0), "Commands: LHLO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP STARTTLS QUIT", "See RFC 2033",
    meaning="The same on a listener for LMTP.",
)  # fmt: skip

# Syntax.
UNKNOWN_COMMAND = reply(500, (5, 5, 2), "Command not recognized", meaning="There is no such command here.")
BAD_CHARACTERS = reply(
    500, (5, 5, 2), "Command has octets that are not allowed",
    meaning="A command line had a control character, a bare CR, a NUL, or was no UTF-8.",
)  # fmt: skip
LINE_TOO_LONG = reply(
    500, (5, 5, 2), "Line too long",
    meaning="A command line is longer than RFC 5321 §4.5.3.1.4 and the offered extensions allow.",
)  # fmt: skip
BARE_LF = reply(500, (5, 5, 2), "Lines end with <CR><LF>", meaning="A command line ended with LF alone.")
BAD_ARGUMENT = reply(501, (5, 5, 4), "Argument missing or malformed", meaning="VRFY or AUTH lacks its argument.")
BAD_XCLIENT = reply(
    501, (5, 5, 4), "XCLIENT attribute missing, unknown, malformed or given twice",
    meaning="A host that may say who the client is said it in another form than that of Postfix.",
)  # fmt: skip
NO_ARGUMENT = reply(
    501, (5, 5, 4), "This command takes no argument", meaning="DATA, RSET, QUIT or STARTTLS had one."
)
STATED_ALREADY = reply(
    503, (5, 5, 1), "The client was stated already",
    meaning="XCLIENT again, once an EHLO has followed one. A proxy opens a connection for each client.",
)  # fmt: skip
BAD_HELLO = reply(
    501, (5, 5, 4), "A host name or address literal is needed", meaning="The name in EHLO, HELO or LHLO is none."
)
MAIL_SYNTAX = reply(501, (5, 5, 4), "Syntax: MAIL FROM:<address> [parameters]", meaning="MAIL without FROM:.")
RCPT_SYNTAX = reply(501, (5, 5, 4), "Syntax: RCPT TO:<address> [parameters]", meaning="RCPT without TO:.")
BDAT_SYNTAX = reply(
    501, (5, 5, 4), "Syntax: BDAT size [LAST]",
    meaning="BDAT is malformed. Where its size cannot be read the session ends too: what follows is not commands.",
)  # fmt: skip
BAD_PARAMETER = reply(
    501, (5, 5, 4), "Parameter malformed or given twice", meaning="A parameter of MAIL or RCPT has no valid value."
)
UNKNOWN_PARAMETER = reply(
    555,
    (5, 5, 4),
    "Parameter not recognized",
    meaning="A parameter of MAIL or RCPT whose extension is not offered.",
)
NEEDS_SMTPUTF8 = reply(
    553, (5, 6, 7), "Address with non-ASCII characters needs SMTPUTF8",
    meaning="An address or parameter has non-ASCII characters, and MAIL did not say SMTPUTF8 (RFC 6531 §3.5).",
)  # fmt: skip
NOT_IMPLEMENTED = reply(
    502, (5, 5, 1), "Command not implemented", meaning="EXPN, or a command whose extension is not offered here."
)

# Sequence (RFC 5321 §4.1.4).
HELLO_FIRST = reply(503, (5, 5, 1), "Send EHLO first", meaning="A command that needs EHLO before it.")
LHLO_FIRST = reply(503, (5, 5, 1), "Send LHLO first", meaning="The same on a listener for LMTP.")
MAIL_FIRST = reply(
    503, (5, 5, 1), "Send MAIL first",
    meaning="RCPT, DATA or BDAT without a transaction, as after every failure that ended one.",
)  # fmt: skip
NESTED_MAIL = reply(503, (5, 5, 1), "A transaction is open already", meaning="MAIL within a transaction.")
IN_TRANSACTION = reply(503, (5, 5, 1), "Not permitted in a transaction", meaning="AUTH or STARTTLS after MAIL.")
AFTER_BDAT = reply(
    503, (5, 5, 1), "Not permitted after BDAT",
    meaning="RCPT or DATA after the first BDAT of a transaction (RFC 3030 §2). BDAT may go on; RSET gives up.",
)  # fmt: skip
NO_SERVICE = reply(
    503,
    (5, 5, 1),
    "No service here; send QUIT",
    meaning="Any command after a greeting that refused (RFC 5321 §3.1).",
)
NO_VALID_RECIPIENTS = reply(
    554, (5, 5, 1), "No valid recipients", meaning="DATA or BDAT, and no RCPT of this transaction was accepted."
)
NO_RECIPIENTS_YET = reply(
    503, (5, 5, 1), "No valid recipients",
    meaning="DATA or BDAT on a listener for LMTP, and no RCPT of this transaction was accepted (RFC 2033 §4.2).",
)  # fmt: skip
TLS_ALREADY = reply(503, (5, 5, 1), "TLS is on already", meaning="STARTTLS under TLS.")

# Authentication and TLS (RFC 4954 §4 and §6, RFC 3207 §4).
ALREADY_AUTHENTICATED = reply(503, (5, 5, 1), "Authenticated already", meaning="A second AUTH in a session.")
AUTH_REQUIRED = reply(
    530, (5, 7, 0), "Authentication required", meaning="This listener takes mail from users who logged in."
)
STARTTLS_FIRST = reply(
    530,
    (5, 7, 0),
    "Must issue a STARTTLS command first",
    meaning="The same, and a login is possible under TLS only.",
)
ENCRYPTION_NEEDED = reply(
    538, (5, 7, 11), "Encryption required for authentication", meaning="AUTH in clear would show the password."
)
UNKNOWN_MECHANISM = reply(
    504, (5, 5, 4), "Authentication mechanism not supported", meaning="EHLO lists those that are."
)
AUTH_CANCELLED = reply(
    501, (5, 7, 0), "Authentication cancelled", meaning="The client sent * in the place of a response."
)
BAD_BASE64 = reply(
    501,
    (5, 5, 2),
    "Cannot decode the response",
    meaning="A response of AUTH is no base64, or not of its mechanism.",
)
AUTH_LINE_TOO_LONG = reply(
    500, (5, 5, 6), "Authentication line too long", meaning="A response of AUTH over 12,288 octets (RFC 4954 §4)."
)

# Limits and content.
TOO_MANY_RECIPIENTS = reply(
    452, (4, 5, 3), "Too many recipients",
    meaning="This transaction has its `max_recipients`; the others are for the next one (RFC 5321 §4.5.3.1.10).",
)  # fmt: skip
TOO_LARGE = reply(
    552, (5, 3, 4), "Message too large",
    meaning="Over `max_message_size`, as declared by SIZE or BDAT, or as it came (RFC 1870 §6).",
)  # fmt: skip
BARE_LINE_END = reply(
    550, (5, 6, 11), "Content has a bare CR or LF",
    meaning="A line of the content does not end with CRLF. Such content is how mail is smuggled.",
)  # fmt: skip
HAS_NUL = reply(
    550, (5, 6, 0), "Content has a NUL octet", meaning="No content may have one (RFC 5321 §2.3.8, RFC 5322)."
)
CONTENT_LINE_TOO_LONG = reply(
    550, (5, 6, 0), "Content has a line that is too long", meaning="A line is over `max_line_length`."
)

# Ends. 421 may come at any time (RFC 5321 §3.8).
TOO_MANY_ERRORS = reply(
    421, (4, 7, 0), "Too many errors; closing", meaning="`error_limit` refusals since the last accepted message."
)
TOO_MANY_COMMANDS = reply(
    421, (4, 7, 0), "Too many commands; closing", meaning="Over `max_commands` in one session."
)
BROKEN_LINES = reply(
    421, (4, 7, 0), "Command lines are broken; closing",
    meaning="The third command line with a bare CR, a bare LF or a NUL.",
)  # fmt: skip
ENDLESS = reply(
    421, (4, 7, 0), "The end of your input is not in sight; closing",
    meaning="A line, or a content that was refused already, goes on and on.",
)  # fmt: skip
OUT_OF_STEP = reply(
    421, (4, 7, 0), "Cannot tell where the chunk ends; closing",
    meaning="BDAT without a size that can be read: reading on would take content for commands.",
)  # fmt: skip
TIMED_OUT = reply(421, (4, 4, 2), "Timed out; closing", meaning="The client said nothing for too long.")
SHUTTING_DOWN = reply(421, (4, 3, 2), "Service is shutting down, try again later", meaning="The server stops.")
BROKEN = reply(
    421, (4, 3, 0), "Local error; closing", meaning="The session cannot go on; the server's log says why."
)
LOCAL_ERROR = reply(
    451, (4, 3, 0), "Local error in processing, try again later",
    meaning="This cannot be done now; the server's log says why.",
)  # fmt: skip
NO_ROOM = reply(
    452, (4, 3, 1), "Insufficient system storage, try again later", meaning="The disk or the queue is full."
)
NO_CAPACITY = reply(
    454, (4, 7, 0), "Temporary authentication failure, try again later",
    meaning="The login could not be checked now: too many failures from this address, or too many logins at once.",
)  # fmt: skip


def greeting(host_name: str) -> Reply:
    """What a server says first (RFC 5321 §4.3.1)."""
    return Reply(220, None, (f"{host_name} ESMTP",))


def lmtp_greeting(host_name: str) -> Reply:
    """The same on a listener for LMTP (RFC 2033 §4.1)."""
    return Reply(220, None, (f"{host_name} LMTP",))


def bad_sender(reason: str) -> Reply:
    """The address in MAIL is not one; the reply says what is wrong with it."""
    return reply(501, (5, 1, 7), f"Bad address: {reason}")


def bad_recipient(reason: str) -> Reply:
    """The address in RCPT is not one; the reply says what is wrong with it."""
    return reply(501, (5, 1, 3), f"Bad address: {reason}")
