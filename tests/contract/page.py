"""Writes the list of differences into docs/coming-from-twisted-mail.md: ``python -m tests.contract.page``."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tests.contract.differences import FOUND, Difference

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "coming-from-twisted-mail.md"
BEGIN, END = "<!-- differences: begin, written by the tests -->\n", "<!-- differences: end -->\n"
ROWS = {
    1: "Login",
    2: "Strangers",
    3: "Logout",
    4: "`validateFrom`",
    5: "`validateTo` and DATA",
    6: "`user.protocol`",
    7: "`receivedHeader`",
    8: "Content",
    9: "Factories",
    10: "AUTH",
    11: "Protocols",
    0: "Everywhere",
}


def found() -> list[Difference]:
    """What the tests of the contract have marked."""
    for path in sorted(HERE.glob("test_*.py")):
        if "differs(" in path.read_text():
            import_module(f"tests.contract.{path.stem}")
    return sorted(FOUND)


def written(differences: list[Difference]) -> str:
    """The list as it stands in the page."""
    lines = ["| where | stock `twisted.mail` | here |", "|---|---|---|"]
    for row, name in ROWS.items():
        for one in differences:
            if one.row == row:
                where = f"{name} (security)" if one.security else name
                lines.append(f"| {where} | {_sentence(one.stock)} | {_sentence(one.ours)} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """`text` with the list between its marks."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return before + BEGIN + "\n" + written(found()) + "\n" + END + after


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
