"""docs/replies.md is made from the catalogue of replies; what is in that, tests/test_replies.py says."""

from __future__ import annotations

import re
from pathlib import Path

from mailserver.reception.catalogue import PAGE, entries, page, write

ROOT = Path(__file__).parents[2]


def test_the_committed_page_is_the_one_that_would_be_written() -> None:
    committed = (ROOT / PAGE).read_text(encoding="utf-8")
    assert committed == page(), "run: python -m mailserver.reception.catalogue"


def test_it_is_written_below_a_directory(tmp_path: Path) -> None:
    write(tmp_path)
    assert (tmp_path / PAGE).read_text(encoding="utf-8") == page()


def test_both_modules_are_in_it_each_reply_once() -> None:
    names = [entry.name for entry in entries()]
    assert {"NO_ROOM", "NO_SUCH_USER", "greeting", "accepted"} <= set(names)
    # The same reply under a second name.
    assert not {"READY_FOR_TLS", "INTERNAL"} & set(names)
    codes = [entry.reply.code for entry in entries()]
    assert codes == sorted(codes)


def test_angle_brackets_and_parameters_are_shown() -> None:
    assert "| 354 | – | End content with &lt;CR>&lt;LF>" in page()
    assert "| 250 | 2.0.0 | Accepted as *queue id* |" in page()


def test_no_reply_is_written_to_the_wire_as_octets() -> None:
    code = re.compile(rb"""b["'][2-5][0-9][0-9][ -]""")
    files = [path for part in ("smtp", "reception", "net") for path in (ROOT / "mailserver" / part).glob("*.py")]
    # 334 is in no catalogue: it carries what the mechanism says.
    assert {path.name for path in files if code.search(path.read_bytes())} == {"sasl.py"}


# Subject to the highest detail that is registered (RFC 3463 §3, RFC 5248 and what was added since).
REGISTERED = {0: 0, 1: 10, 2: 4, 3: 6, 4: 7, 5: 6, 6: 10, 7: 30}


def test_statuses_are_registered_but_for_one() -> None:
    statuses = {entry.reply.status for entry in entries()} - {None}
    unknown = {str(status) for status in statuses if status.detail > REGISTERED.get(status.subject, -1)}
    # Exchange says this of bare line ends, and senders know it from there; the registry has only 5.6.0 for them.
    assert unknown == {"5.6.11"}
