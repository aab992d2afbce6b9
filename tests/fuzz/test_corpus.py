"""Every input of the corpus, and inputs that nobody thought of, against the fuzz targets without the fuzzer."""

from __future__ import annotations

from importlib import import_module

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import CORPUS, TARGETS

INPUTS = [(name, path) for name in TARGETS for path in sorted((CORPUS / name).iterdir())]
_LINES = (CORPUS.with_name("smtp.dict")).read_text().splitlines()
WORDS = st.sampled_from([line[1:-1].encode().decode("unicode_escape").encode("latin-1") for line in _LINES])
PIECES = st.lists(WORDS | st.binary(max_size=12), max_size=40).map(b"".join)


@pytest.mark.parametrize(("name", "path"), INPUTS, ids=[f"{name}-{path.name}" for name, path in INPUTS])
def test_an_input_of_the_corpus(name, path):
    import_module(TARGETS[name]).run(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_each_target_has_a_corpus(name):
    assert len(list((CORPUS / name).iterdir())) >= 5


@given(st.binary(min_size=2, max_size=2), PIECES)
@settings(max_examples=200, deadline=None)
@example(b"\0\0", b"EHLO x\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n\r\n.\r\n")
def test_words_of_the_protocol_in_any_order(head, pieces):
    for name in ("server", "client"):
        import_module(TARGETS[name]).run(head + pieces)


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_as_an_address(text):
    import_module(TARGETS["address"]).run(text.encode())
