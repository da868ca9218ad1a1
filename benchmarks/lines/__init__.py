"""Kinds of connection, side by side over the same emulated line; `reliability.py` is the one to run."""
