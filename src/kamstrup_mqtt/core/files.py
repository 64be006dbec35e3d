"""Files that hold private data: create, replace atomically, lock, set aside.

Only the owner may read them: serial numbers identify a customer, and readings show when
people are at home.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from kamstrup_mqtt.core.errors import ConfigError

_OWNER_ONLY = 0o600


def create_private(path: Path, *, replace: bool = False) -> int:
    """Create a file for its owner only and return its descriptor, open for writing.

    Raises ConfigError if the file exists (unless `replace`) or cannot be created.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if replace else os.O_EXCL)
    try:
        descriptor = os.open(path, flags, _OWNER_ONLY)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):  # leave the mode of a device alone
            os.fchmod(descriptor, _OWNER_ONLY)
    except FileExistsError:
        raise ConfigError(f"{path} already exists; name another file or add --force") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    return descriptor


def make_private(path: Path) -> None:
    """Create the file if it is missing and restrict it to its owner. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY)
    try:
        os.fchmod(descriptor, _OWNER_ONLY)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str) -> None:
    """Replace the whole file or nothing, even when the power fails. Raises OSError."""
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OWNER_ONLY)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            # the file may be left over from a crash, with the mode of another umask
            os.fchmod(descriptor, _OWNER_ONLY)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:  # a partial file must not take up the rest of a full disk
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def acquire_lock(path: Path) -> tuple[int, bool]:
    """Lock the state file at `path` for this process, by a lock file beside it.

    Returns the descriptor, which holds the lock until it is closed, and whether the previous
    owner shut down cleanly: it then truncated the lock file, which otherwise contains its pid.
    Raises ConfigError if another process holds the lock, OSError if no lock file can be created.
    """
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise ConfigError(
            f"{path}: another kamstrup-mqtt (process {pid}) uses this state file; stop it,"
            " or set another STATE_DIRECTORY and mqtt.instance for this one"
        ) from None
    clean_shutdown = os.fstat(descriptor).st_size == 0
    os.truncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
    os.fsync(descriptor)  # a power cut is not a clean shutdown either
    return descriptor, clean_shutdown


def set_aside(path: Path, reason: str, *, sidecars: Sequence[str] = ()) -> Path:
    """Rename an unusable file to the first free `<name>.<reason>-<n>` and return the new path.

    `sidecars`: suffixes of files that belong to it; they are renamed first, so that none of
    them is left beside a new file of the old name. Raises OSError.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.{reason}-{number}")).exists():
        number += 1
    for suffix in (*sidecars, ""):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(f"{aside}{suffix}")
    return aside
