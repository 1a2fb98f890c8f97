"""Charon's end of the IKE relay (ebpf/abi/ike_relay.h) and the peer's datagrams: for tests of gw-fastpath without charon."""
import select
import socket
import struct

from fastpath_lab import packed
from fastpath_peer import GW4, GW6, PEER4, PEER6

HEADER = struct.Struct("=BBBBHHI16s16s")
VERSION = 1
MARKER = bytes(4)  # RFC 3948 2.2


class IkeEnd:
    def __init__(self, lab):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(str(lab.socket.parent / "ike.sock"))

    def receive(self, seconds=2.0):
        """(local port, peer's address, payload) of the next datagram; None if there is none in time."""
        if not select.select([self.socket], [], [], seconds)[0]:
            return None
        data = self.socket.recv(70000)
        version, family, _, _, local, _, _, _, peer = HEADER.unpack(data[:HEADER.size])
        assert version == VERSION
        address = socket.inet_ntop(*((socket.AF_INET, peer[:4]) if family == 4 else (socket.AF_INET6, peer)))
        return socket.ntohs(local), address, data[HEADER.size:]

    def send(self, payload: bytes, port=4500, v6=False):
        gw, peer = (packed(a) for a in ((GW6, PEER6) if v6 else (GW4, PEER4)))
        self.socket.send(HEADER.pack(VERSION, 6 if v6 else 4, 0, 0, socket.htons(port), socket.htons(port), 0,
                                     gw.ljust(16, b"\0"), peer.ljust(16, b"\0")) + payload)

    def close(self):
        self.socket.close()


def message(size, exchange=35, port=4500):
    """Looks like IKEv2 (RFC 7296 3.1); `exchange` 34: IKE_SA_INIT, 35: IKE_AUTH. `size`: of the UDP payload."""
    marker = MARKER if port == 4500 else b""
    length = size - len(marker)
    header = struct.pack(">8s8sBBBBII", b"initiato", b"responde", 46, 0x20, exchange, 0x08, 1, length)
    return marker + header + bytes(i * 7 & 0xff for i in range(length - len(header)))
