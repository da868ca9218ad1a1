"""A person's words as an FTS5 query."""

from __future__ import annotations


def fts_query(words: str) -> str:
    """Every word must occur, the last as a beginning; nothing in ``words`` is query syntax, and "" finds nothing."""
    quoted = ['"' + word.replace('"', '""') + '"' for word in words.replace("\x00", " ").split()]
    return " ".join(quoted) + "*" if quoted else ""
