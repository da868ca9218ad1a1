"""The demo: two people and a server in processes of their own, with kills, and an honest count at the end."""

from .story import run_demo

__all__ = ["run_demo"]
