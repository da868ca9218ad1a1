"""Introduces peers: the node (server), and the vocabulary clients and node share.

Importing this package is cheap; `Node` and `NodeConfig` load the server's libraries when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .admission import hello_is_genuine, node_hello_bytes, node_id
from .errors import (
    BadTls,
    CannotListen,
    DataInUse,
    DataTooNew,
    DataUnusable,
    NodeError,
    PortInUse,
    StorageBusy,
    StorageFailed,
)
from .limits import NodeLimits
from .mailboxes import day_of, mailbox_address
from .messages import (
    CARD_LIMIT_BYTES,
    ENTRY_LIMIT_BYTES,
    ENVELOPE_LIMIT_BYTES,
    FRAME_LIMIT_BYTES,
    SUBPROTOCOL,
    TTL_LIMIT_S,
    VERSION,
    Accepted,
    Ack,
    BadFrame,
    Card,
    CardGet,
    CardSet,
    Changes,
    ClientFrame,
    ClientHello,
    Close,
    Code,
    Done,
    Enter,
    Error,
    Fenced,
    Frame,
    Item,
    Items,
    Leave,
    Limits,
    NodeFrame,
    NodeHello,
    Open,
    Opened,
    Put,
    PutAnswer,
    Snapshot,
    TopicEntry,
    decode_client,
    decode_node,
    encode,
)

if TYPE_CHECKING:
    from .node import Node, NodeConfig

# Where a node's WebSocket is, behind its base URL.
SOCKET_PATH = "/ws"


def __getattr__(name: str) -> Any:
    if name in ("Node", "NodeConfig"):
        from . import node

        return getattr(node, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "CARD_LIMIT_BYTES",
    "ENTRY_LIMIT_BYTES",
    "ENVELOPE_LIMIT_BYTES",
    "FRAME_LIMIT_BYTES",
    "SOCKET_PATH",
    "SUBPROTOCOL",
    "TTL_LIMIT_S",
    "VERSION",
    "Accepted",
    "Ack",
    "BadFrame",
    "BadTls",
    "CannotListen",
    "Card",
    "CardGet",
    "CardSet",
    "Changes",
    "ClientFrame",
    "ClientHello",
    "Close",
    "Code",
    "DataInUse",
    "DataTooNew",
    "DataUnusable",
    "Done",
    "Enter",
    "Error",
    "Fenced",
    "Frame",
    "Item",
    "Items",
    "Leave",
    "Limits",
    "Node",
    "NodeConfig",
    "NodeError",
    "NodeFrame",
    "NodeHello",
    "NodeLimits",
    "Open",
    "Opened",
    "PortInUse",
    "Put",
    "PutAnswer",
    "Snapshot",
    "StorageBusy",
    "StorageFailed",
    "TopicEntry",
    "day_of",
    "decode_client",
    "decode_node",
    "encode",
    "hello_is_genuine",
    "mailbox_address",
    "node_hello_bytes",
    "node_id",
]
