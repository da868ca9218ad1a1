"""Real processes on an emulated network: namespaces joined by a process that carries, delays, damages and drops."""

from .emulated import Emulated, EmulatorEnded

__all__ = ["Emulated", "EmulatorEnded"]
