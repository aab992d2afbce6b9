"""Types as a user's project sees them: `mypy --strict` over its files, without our settings.

What is exported lazily has its type, and a name that does not exist is an error. The programs of the manual pass
with the settings that the manual names; those that only send need no plugin of mypy.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.manual import Block, blocks, pages
from tests.docs.scenes import SCENES

ROOT = Path(__file__).parent.parent

NAMES = """
from collections.abc import Mapping
from typing import assert_type

import mailserver.transport as transport
from mailserver import Client, ClientOptions, Login, MailServerError, SendFailed, Sent, SpoolFull, sendmail
from mailserver.accounts import StaticDirectory
from mailserver.message import CONTINUE, Klass, Outcome, Status, Verdict
from mailserver.settings import Listener, Settings
from mailserver.smtp import Mailbox


async def send() -> None:
    client = Client("smtp.example.org:587", login=Login("a", "b"), options=ClientOptions(connections=2))
    sent = await client.send(b"", sender="", recipients=["a@b.c", Mailbox.parse("d@e.f")])
    assert_type(sent, Sent)
    assert_type(sent.outcomes, Mapping[str | Mailbox, Outcome])
    assert_type(sent.outcomes["a@b.c"].status, Status)
    try:
        raise transport.SendRefused(sent.outcomes)
    except SendFailed as error:
        assert_type(error.reply, str | None)
    assert_type(await sendmail("h", b"a", [b"b"], b""), tuple[int, list[tuple[bytes, int, bytes]]])


assert_type(CONTINUE, Verdict)
assert_type(SpoolFull("x"), SpoolFull)
errors: list[type[MailServerError]] = [SpoolFull, SendFailed]
directory = StaticDirectory(["orders@example.org"])
klass: Klass = Klass.SUCCESS
"""

WRONG = """
from mailserver import Clinet
from mailserver.message import Envelop
from mailserver import Client
Client(17)
Client("smtp.example.org:587", tls=True)
"""


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What mypy says about the files of one project, a line each."""
    project = tmp_path_factory.mktemp("project")
    (project / "names.py").write_text(NAMES)
    (project / "wrong.py").write_text(WRONG)
    for block in programs("docs/sending.md"):
        (project / f"sending{block.name[1:]}.py").write_text(block.text)
    return checked(project, "--strict", "--config-file=")


def programs(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python" and (page, block.name) in SCENES]


def checked(project: Path, *settings: str) -> list[str]:
    files = sorted(path.name for path in project.glob("*.py"))
    # The caches are kept: they save some seconds of reading Twisted. A plugin wants one of its own.
    cache = ROOT / ".mypy_cache" / ("user" if "--strict" in settings else "user-with-plugin")
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", *settings, "--follow-imports=silent", f"--cache-dir={cache}", *files],
        cwd=project, env={**os.environ, "MYPYPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"{len(files)} source files" in ran.stdout, ran.stdout + ran.stderr
    return ran.stdout.splitlines()[:-1]


@pytest.mark.timeout(400)
def test_what_is_right_has_its_types(findings: list[str]) -> None:
    assert [line for line in findings if not line.startswith("wrong.py")] == []


@pytest.mark.timeout(400)
def test_what_is_wrong_is_found(findings: list[str]) -> None:
    found = [line for line in findings if line.startswith("wrong.py")]
    assert [int(line.split(":")[1]) for line in found] == [2, 3, 5, 6]
    assert 'no attribute "Clinet"' in found[0]


# Beside the programs with a scene: the plugin and the test of the manual.
OTHERS = {("docs/plugins.md", "acme_check.py"), ("docs/testing.md", "test_sleeping_host.py")}


@pytest.mark.timeout(400)
def test_the_programs_of_the_manual(tmp_path: Path) -> None:
    found = [block for page in pages() for block in programs(page)]
    found += [block for page, name in sorted(OTHERS) for block in blocks(page) if block.name == name]
    for block in found:
        page = Path(block.page).stem.replace("-", "_")
        (tmp_path / f"{page}_{block.name.removesuffix('.py').lstrip('#')}.py").write_text(block.text)
    assert len(list(tmp_path.iterdir())) == len(found) > 15
    (settings,) = [block.text for block in blocks("docs/embedding.md") if block.name == "mypy.ini"]
    assert "strict = true" in settings
    (tmp_path / "mypy.ini").write_text(settings)
    assert checked(tmp_path, "--config-file=mypy.ini") == []
