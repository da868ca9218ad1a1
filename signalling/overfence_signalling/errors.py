"""What can keep a node from starting or serving. Each says whose fault it is and what still holds."""

from __future__ import annotations

from pathlib import Path


class NodeError(Exception):
    """A node could not start or go on."""


class CannotListen(NodeError):
    """The address can't be listened on; nothing was started, stored mail is untouched."""

    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(f"cannot listen on {host} port {port}: {why}")
        self.host = host
        self.port = port


class PortInUse(CannotListen):
    """Another process listens on this port; nothing was started, stored mail is untouched."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port, "another process listens there")


class DataUnusable(NodeError):
    """The data directory can't be made, read or written, or its database is damaged; what it held is left as it was."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


class DataInUse(DataUnusable):
    """Another node runs on this data directory; that one goes on, this one didn't start."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "another node is using this data directory")


class DataTooNew(DataUnusable):
    """A newer version of Overfence wrote this database; no byte of it was changed."""

    def __init__(self, path: Path, found: int, known: int) -> None:
        super().__init__(path, f"written by a newer version (schema {found}; this version knows {known})")
        self.found = found
        self.known = known


class BadTls(NodeError):
    """The certificate or its key can't be read or don't belong together; nothing was started."""


class StorageFailed(NodeError):
    """The disk refused; what it refused was not accepted from anyone, and what was accepted before still holds."""


class StorageBusy(StorageFailed):
    """The disk is behind, and the queue in front of it full; what was asked was not done, and may be asked again."""
