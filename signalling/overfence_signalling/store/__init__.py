"""What a node keeps: mailboxes, their items and cards, and the node's own key."""

from __future__ import annotations

from .sqlite import Followed, Kept, Page, Store

__all__ = ["Followed", "Kept", "Page", "Store"]
