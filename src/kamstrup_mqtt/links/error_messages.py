"""Messages for ports that cannot be opened, with what to do."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import re
import socket
from pathlib import Path

from kamstrup_mqtt.core.errors import LinkError
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.links.address import PortAddress, SerialDevice, TcpBridge

BY_ID = Path("/dev/serial/by-id")
_UNSTABLE = re.compile(r"/dev/tty(?:USB|ACM)\d+\Z")


def port_missing(path: str, by_id: Path = BY_ID) -> LinkError:
    """Return the error for a missing device."""
    names = _device_names(by_id)
    present = f"present: {', '.join(names)}" if names else f"{by_id} is empty"
    return LinkError(
        LinkState.PORT_MISSING,
        f"{path} does not exist: is the adapter plugged in (in Docker: handed to the container)?"
        f" {present}",
    )


def serial_error(path: str, code: int | None, text: str) -> LinkError:
    """Return the error for an OS error `code` (errno) on opening the tty `path`."""
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return port_missing(path)
    if code in (errno.EACCES, errno.EPERM):
        return LinkError(LinkState.REFUSED, _permission_message(path))
    if code in (errno.EBUSY, errno.EAGAIN):
        return LinkError(
            LinkState.BUSY,
            f"{path}: another program uses the port{_join_names(processes_using(path))}; stop it,"
            " or read through a bridge such as ser2net",
        )
    if code == errno.EINVAL:
        return LinkError(
            LinkState.REFUSED,
            f"{path} refuses the line's settings: check `baudrate`, `bytesize`, `parity` and"
            " `stopbits`",
        )
    if code in (errno.ENOTTY, errno.EISDIR):
        return LinkError(LinkState.REFUSED, f"{path} is not a serial port; check `port`")
    if code == errno.EIO:
        return LinkError(
            LinkState.PORT_MISSING,
            f"{path} returns an I/O error: the device is gone or hangs; unplug it and"
            " plug it in again",
        )
    return LinkError(LinkState.PORT_MISSING, f"{path} cannot be opened: {text}")


def _permission_message(path: str) -> str:
    owner = "unknown"
    with contextlib.suppress(OSError):
        owner = _group_name(os.stat(path).st_gid)
    ours = ", ".join(_group_name(gid) for gid in sorted({os.getegid(), *os.getgroups()}))
    return (
        f"{path}: permission denied. The port belongs to group {owner}, this process is in {ours}."
        f" Fix: `sudo usermod -aG {owner} $USER` and log in again; under systemd"
        f" `SupplementaryGroups={owner}` and a `DeviceAllow=` for the port; in Docker `group_add`"
        " with the group's number and `device_cgroup_rules`"
    )


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def processes_using(path: str, proc: Path = Path("/proc")) -> list[str]:
    """Return the other processes that have the device open, as "name (pid 12)".

    Processes of other users are visible only to root.
    """
    device = os.path.realpath(path)
    found: list[str] = []
    for process in proc.glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):  # ended, or of another user
            if any(_links_to(fd, device) for fd in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                found.append(f"{name} (pid {process.name})")
    return found


def _links_to(link: Path, device: str) -> bool:
    try:
        return os.readlink(link) == device
    except OSError:
        return False


def _join_names(programs: list[str]) -> str:
    return f": {', '.join(programs)}" if programs else ""


def unstable_name_warning(address: PortAddress, by_id: Path = BY_ID) -> str | None:
    """Return a warning if the name of the device depends on the order of plugging in."""
    if not isinstance(address, SerialDevice) or not _UNSTABLE.match(address.path):
        return None
    device = os.path.realpath(address.path)
    match = next((n for n in _device_names(by_id) if os.path.realpath(n) == device), None)
    better = f"write {match}" if match else f"write its name in {by_id}"
    return f"{address.path} may be another device after the next start: {better} instead"


def _device_names(folder: Path) -> list[str]:
    try:
        return sorted(str(path) for path in folder.iterdir())
    except OSError:
        return []


def tcp_error(bridge: TcpBridge, error: OSError) -> LinkError:
    """Return the error for a failed connection to a bridge."""
    if isinstance(error, ConnectionRefusedError):
        return LinkError(
            LinkState.REFUSED,
            f"{bridge}: connection refused: no program listens there; is the bridge (ser2net)"
            " running, and is the port right?",
        )
    if isinstance(error, socket.gaierror):
        return LinkError(
            LinkState.PORT_MISSING,
            f"{bridge}: the name {bridge.host} cannot be resolved ({error.strerror}); check the"
            " name or write the address",
        )
    if isinstance(error, TimeoutError):
        return LinkError(
            LinkState.PORT_MISSING,
            f"{bridge}: no answer; is the bridge switched on and reachable (firewall)?",
        )
    return LinkError(LinkState.PORT_MISSING, f"{bridge}: {error.strerror or error}")


# ser2net 4 sends "Port already in use\r\n" as data and closes; other bridges send similar texts.
_BUSY_TEXT = re.compile(
    rb"already in use|port (?:is )?(?:busy|in use)|too many connections|already connected", re.I
)
_FAILED_TEXT = re.compile(
    rb"unable to (?:open|start|set ?up)|failed to open|could not open|no such (?:file|device)"
    rb"|device (?:not found|disabled)|permission denied",
    re.I,
)
# IAC WILL|WONT|DO|DONT option (RFC 854): two of them, or one alone. Binary data may start with ff,
# too.
_TELNET = re.compile(rb"(?:\xff[\xfb-\xfe][\x00-\x31]){2}|\xff[\xfb-\xfe][\x00-\x31]\Z")


def bridge_message_error(bridge: TcpBridge, head: bytes) -> LinkError | None:
    """Return an error if the first bytes of a connection are a message of the bridge itself."""
    if _TELNET.match(head):
        return LinkError(
            LinkState.REFUSED,
            f"{bridge}: the bridge uses telnet, which corrupts the bytes of a meter; use raw mode"
            " (ser2net.yaml: `accepter: tcp,PORT` instead of `telnet,...` or"
            " `telnet(rfc2217),...`)",
        )
    if _BUSY_TEXT.search(head):
        return LinkError(
            LinkState.BUSY,
            f'{bridge}: the bridge says "{_quote_first_line(head)}": another program is connected;'
            " stop it, or set `kickolduser: true` in ser2net.yaml",
        )
    if _FAILED_TEXT.search(head):
        return LinkError(
            LinkState.REFUSED,
            f'{bridge}: the bridge says "{_quote_first_line(head)}": check its serial device',
        )
    return None


def _quote_first_line(head: bytes) -> str:
    return ascii(head.split(b"\r")[0].split(b"\n")[0].decode("latin-1"))[1:-1][:100]
