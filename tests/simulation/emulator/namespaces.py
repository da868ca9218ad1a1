"""Network namespaces without names: each lives as long as a descriptor of it, so its maker's end is theirs."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000

OUTER = "path"
PREFIX = 24
# What the emulator has not read yet waits here, in the kernel; its default of 500 would drop a burst where we can't
# count it.
WAITING_PACKETS = 10_000

SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))

# Every new conversation gets a port by chance, so that one which is forgotten comes back from another address. And as
# most routers do, this one answers nothing that it has not been asked for.
NAT = f"""
table ip fence {{
    chain out {{
        type nat hook postrouting priority srcnat;
        oifname "{OUTER}" masquerade random,fully-random
    }}
    chain in {{
        type filter hook input priority filter;
        iifname "{OUTER}" drop
    }}
    chain through {{
        type filter hook forward priority filter;
        iifname "{OUTER}" ct state != {{ established, related }} drop
    }}
}}
"""


class Namespace:
    """A network of its own, with loopback up."""

    def __init__(self) -> None:
        with returning():
            call("unshare", CLONE_NEWNET)
            self.descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            run("ip", "link", "set", "lo", "up")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What this process opens and starts within the block is in this network."""
        with returning():
            call("setns", self.descriptor, CLONE_NEWNET)
            yield

    def connect(self, address: str) -> int:
        """Give it an interface whose other end is the returned descriptor."""
        with self.entered():
            tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", OUTER.encode(), IFF_TUN | IFF_NO_PI))
            # No IPv6: its routers and neighbours would ask around on a path where every packet is counted.
            run("ip", "link", "set", OUTER, "addrgenmode", "none", "txqueuelen", str(WAITING_PACKETS))
            run("ip", "address", "add", f"{address}/{PREFIX}", "dev", OUTER)
            run("ip", "link", "set", OUTER, "up")
        return tun

    def put_behind(self, gate: Namespace, address: str, gate_address: str) -> None:
        """Make this a private network whose way out is ``gate``, which translates addresses."""
        with self.entered():
            run("ip", "link", "add", "lan", "type", "veth", "peer", "name", "inner")
            run("ip", "link", "set", "inner", "netns", f"/proc/{os.getpid()}/fd/{gate.descriptor}")
            run("ip", "address", "add", f"{address}/{PREFIX}", "dev", "lan")
            run("ip", "link", "set", "lan", "addrgenmode", "none", "up")
            run("ip", "route", "add", "default", "via", gate_address)
        with gate.entered():
            run("ip", "address", "add", f"{gate_address}/{PREFIX}", "dev", "inner")
            run("ip", "link", "set", "inner", "addrgenmode", "none", "up")
            with open("/proc/sys/net/ipv4/ip_forward", "w") as forward:
                forward.write("1")
            run("nft", "-f", "-", text=NAT)


@contextmanager
def returning() -> Iterator[None]:
    """Come back to the network the process was in."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        yield
    finally:
        call("setns", before, CLONE_NEWNET)
        os.close(before)


def call(name: str, *arguments: int) -> None:
    """One of libc's functions that Python 3.11 does not have."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def run(*command: str, text: str | None = None) -> str:
    """A program of the system, to its end; what it says is in the error if it fails."""
    program = shutil.which(command[0], path=SYSTEM_PATH)
    if program is None:
        raise FileNotFoundError(f"this machine lacks the program {command[0]}")
    done = subprocess.run([program, *command[1:]], input=text, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
