"""The reserve file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mailserver.spool.reserve import Reserve


def test_it_is_made_freed_and_made_again(tmp_path: Path) -> None:
    path = tmp_path / "reserve"
    reserve = Reserve(path, 100_000)
    assert reserve.make()
    assert (path.stat().st_size, path.stat().st_blocks * 512 >= 100_000) == (100_000, True)
    assert reserve.make()
    assert reserve.free()
    assert not reserve.free()
    assert not path.exists()
    assert not reserve.no_room()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def allocate(_descriptor: int, _start: int, _size: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    reserve = Reserve(tmp_path / "reserve", 100_000)
    assert not reserve.make()
    assert reserve.no_room()
    assert list(tmp_path.iterdir()) == []


def test_another_error_is_not_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Reserve(tmp_path / "none" / "reserve", 100).make()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_no_room_for_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    reserve = Reserve(tmp_path / "reserve", 100_000)
    assert reserve.make()

    def opening(_path: str, _flags: int, _mode: int) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", opening)
        assert reserve.no_room()
        assert not reserve.make()
        assert reserve.free()
        assert not reserve.make()
    assert list(tmp_path.iterdir()) == []


def test_it_has_names_to_give(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", 100_000)
    assert reserve.make()
    # Two databases with two files each, and the control socket.
    assert len(list(tmp_path.iterdir())) > 5
    reserve.free()
    assert list(tmp_path.iterdir()) == []
