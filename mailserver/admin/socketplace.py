"""Where the control socket may lie: in a directory that is closed to everybody but the server's own user.

Whoever can write to that directory can put another socket in the place of ours, and get the passwords that
administrators send. A directory that is missing is made 0700; one that is there already is somebody's, and is
judged and never changed.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

# The address of a Unix socket has at most 107 octets, which begin with /proc/self/fd/NUMBER/.
MAX_NAME = 80
_OTHERS = 0o077


def place_problem(path: Path) -> str:
    """Why the socket `path` cannot lie there, with what to do about it; "" where it can. Changes nothing."""
    name, directory = len(os.fsencode(path.name)), path.parent
    if name > MAX_NAME:
        return (
            f"control.socket: the file name {path.name[:20]}… has {name} octets, and a socket's has at most"
            f" {MAX_NAME}; choose a shorter one"
        )
    try:
        found = directory.stat()
    except FileNotFoundError:
        return _missing(directory)
    except OSError as error:
        return f"control.socket: {directory} cannot be used ({error.strerror}); name another directory"
    if not stat.S_ISDIR(found.st_mode):
        return f"control.socket: {directory} is no directory; move it away, or name another directory"
    return _not_private(directory, found)


def _missing(directory: Path) -> str:
    # os.path and not Path: what lies in a directory that is closed to us does not exist, and raises nothing.
    if os.path.isdir(directory.parent):
        return ""
    return f"control.socket: {directory.parent} does not exist; make this directory, or name another"


def _not_private(directory: Path, found: os.stat_result) -> str:
    advice = "name a directory that does not exist yet, and the server makes it"
    if found.st_uid not in (0, os.geteuid()):
        return f"control.socket: {directory} belongs to the user {user_name(found.st_uid)}; {advice}"
    if found.st_mode & _OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        # Whoever shares a directory with others must not be told to close it to them.
        if found.st_uid == os.geteuid() and not mode & 0o022:
            advice = f"if it is the server's alone, run: chmod 700 {directory}; else {advice}"
        return f"control.socket: {directory} is open to other users (mode {mode:04o}); {advice}"
    return ""


def user_name(uid: int) -> str:
    """The name of a user, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
