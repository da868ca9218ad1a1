"""Every bound of a node, each with the threat it answers. The frame's own sizes stand in `messages`."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# A page of items or topic entries: small enough that live traffic slips in between two of them.
PAGE_BYTES = 32 * KIB
# MessagePack around one item or entry (tags, numbers, ids), rounded up, so that a full page stays a legal frame.
RECORD_OVERHEAD_BYTES = 96
# How long a page of topic changes gathers: presence must feel immediate while a call is being set up.
TOPIC_BATCH_S = 0.02
DAY_S = 24 * 3600
SWEEP_EVERY_S = 3600.0
# What a refused client is told to wait: a moment, a breath of the disk, or until somebody made room.
BUSY_RETRY_S = 1.0
STORAGE_RETRY_S = 5.0
CROWDED_RETRY_S = 30.0
FULL_RETRY_S = 600.0


@dataclass(frozen=True, kw_only=True)
class NodeLimits:
    """What one node grants; each bound stands beside the threat it answers."""

    # Sockets that dribble a request, or never ask anything, would hold a place for ever.
    request_deadline_s: float = 10.0
    # The same for a WebSocket that never says hello.
    hello_deadline_s: float = 5.0
    # A connection whose other end vanished without a word is found and its presence ended.
    heartbeat_s: float = 20.0
    # A reader that takes nothing for this long holds memory for nobody.
    write_deadline_s: float = 20.0
    # A stop is bounded, whatever clients do.
    stop_deadline_s: float = 5.0

    # One house (an IPv4 address, an IPv6 /64) can't take every place; generous, because many people share a NAT.
    connections_per_network: int = 256
    # File descriptors and memory of the whole process.
    connections: int = 8_192
    # One client can't keep the writer to itself, nor the processor by asking faster than it is served.
    requests_per_s: float = 8_000.0
    requests_burst: float = 16_000.0
    # Requests read but not yet answered; past it that client's socket is no longer read.
    requests_waiting: int = 512
    requests_waiting_bytes: int = 2 * MIB
    # Bytes waiting for a slow reader; past it the reader is closed, because no sender waits for it.
    outbox_bytes: int = MIB
    # Beyond this an outbox takes no more stored items: they wait in the store, where they cost no memory.
    outbox_easy_bytes: int = 256 * KIB
    # Items sent to an owner who hasn't acknowledged them: what is sent twice after a drop.
    in_flight_bytes: int = 256 * KIB

    # Anyone who knows an address may put: one stranger can't fill the disk through one mailbox.
    mailbox_bytes: int = 16 * MIB
    mailbox_items: int = 10_000
    # Ids remembered past the acknowledgement; a flood forgets the oldest, and a repeat of those arrives twice.
    mailbox_taken: int = 50_000
    taken_days: int = 30
    # A mailbox nobody opened for so long is abandoned; its place and its trace go.
    mailbox_idle_days: int = 180
    # One connection can't follow, or create, mailboxes without end.
    mailboxes_per_connection: int = 256
    # The disk. Past it nothing new is stored, and what is stored is still delivered.
    store_bytes: int = 8 * GIB
    # Operations the writer hasn't begun: if the disk stalls, the queue stops growing and says so.
    store_waiting: int = 50_000
    store_waiting_bytes: int = 64 * MIB

    # Topics live in memory: how many one connection may be in, and how many may be in one.
    topics_per_connection: int = 512
    entries_per_topic: int = 256
    topics: int = 100_000
