"""Making the two ends of a proxy vanish from the network, as a host does that has lost its power.

A proxy that stalls is still a living host: its kernel acknowledges what it is sent. Here nothing is
answered any more, not even a keepalive probe: a socket filter throws everything away before TCP
sees it (Linux only; socket(7), SO_ATTACH_FILTER).
"""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import TYPE_CHECKING

from tests.support.sessions import eventually

if TYPE_CHECKING:
    from tests.support.proxy import Proxy

SO_ATTACH_FILTER = 26  # asm-generic/socket.h; the module socket has no name for it
UNACKNOWLEDGED = 24  # offset of tcpi_unacked in struct tcp_info (linux/tcp.h)
# The program's only instruction: BPF_RET | BPF_K, accept 0 bytes (linux/filter.h).
_DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
_PROGRAM = struct.pack("HP", 1, ctypes.addressof(_DROP_ALL))


def vanish(proxy: Proxy) -> int:
    """Answer nothing any more on the connections that there are now.

    Neither the clients nor the server are told. What the proxy has read by now is still passed on.
    New connections work as before.

    Returns:
        How many connections there were.
    """
    links = list(proxy._links)
    for link in links:
        for end in (link.client, link.server):
            # What is not acknowledged before would be sent again and again, a sign of life.
            eventually(lambda end=end: not _unacknowledged(end))  # type: ignore[misc]
            end.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, _PROGRAM)
    return len(links)


def _unacknowledged(end: socket.socket) -> int:
    info = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, UNACKNOWLEDGED + 4)
    (packets,) = struct.unpack_from("I", info, UNACKNOWLEDGED)
    return int(packets)
