"""The `overfence` command. Nothing here is imported by the library."""

from __future__ import annotations

from .app import main

__all__ = ["main"]
