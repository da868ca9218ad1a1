"""The node's log: what happened to the node, never whom it happened to, nor what anyone said."""

from __future__ import annotations

import logging
from typing import cast

import structlog

# Through the standard library, silent until the embedding program asks: a peer carries a node inside it.
_standard = logging.getLogger("overfence_signalling")
_standard.addHandler(logging.NullHandler())

log = cast(
    structlog.stdlib.BoundLogger,
    structlog.wrap_logger(
        _standard,
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    ),
)
