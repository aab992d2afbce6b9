"""Arguments are checked against their declaration."""

import pytest

from mailserver.admin.command import Argument, Command, ControlError


async def _nothing(world):
    return {}


COMMAND = Command(
    "thing do",
    "Do it.",
    _nothing,
    (
        Argument("name", "a name", positional=True, required=True),
        Argument("limit", "a number", int, default=7),
        Argument("seconds", "a time", float),
        Argument("flag", "a flag", bool, default=False),
        Argument("many", "names", many=True),
        Argument("wait", "for the shell alone", float, local=True),
    ),
)


def test_defaults_are_filled_in():
    assert COMMAND.accept({"name": "x"}) == {"name": "x", "limit": 7, "seconds": None, "flag": False, "many": None}


def test_all_arguments():
    given = {"name": "x", "limit": 0, "seconds": 2, "flag": True, "many": ["a", "b"]}
    accepted = COMMAND.accept(given)
    assert accepted == given
    assert isinstance(accepted["seconds"], float)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "thing do needs the argument name"),
        ({"name": None}, "needs the argument name"),
        ({"name": 3}, "name must be of type str, not int"),
        ({"name": "x", "limit": "3"}, "limit must be of type int, not str"),
        ({"name": "x", "limit": True}, "limit must be of type int, not bool"),
        ({"name": "x", "limit": 1.5}, "limit must be of type int, not float"),
        ({"name": "x", "seconds": True}, "seconds must be of type float, not bool"),
        ({"name": "x", "flag": 1}, "flag must be of type bool, not int"),
        ({"name": "x", "many": "a"}, "many must be a list of str"),
        ({"name": "x", "many": [1]}, "many must be of type str, not int"),
        ({"name": "x", "other": 1}, "thing do has no argument other"),
        ({"name": "x", "wait": 1.0}, "thing do has no argument wait"),
    ],
)
def test_refusals(given, words):
    with pytest.raises(ControlError, match=words):
        COMMAND.accept(given)
