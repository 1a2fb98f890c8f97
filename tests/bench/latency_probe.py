#!/usr/bin/env python3
"""One end of the latency benchmark: `send HOST PORT COUNT RATE`, or `receive PORT SECONDS`, which waits so long for
the first packet, prints the one-way times in ns, one a line, and ends a second after the last one. Both are on one machine, so their clocks are the same. The time of arrival is the kernel's
(SO_TIMESTAMPNS): how late this process wakes up does not count.
"""
import socket
import struct
import sys
import time

SO_TIMESTAMPNS = getattr(socket, "SO_TIMESTAMPNS", 35)


def send(host, port, count, rate):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((host, port))
    due = time.monotonic()
    for _ in range(count):
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))
        sock.send(struct.pack("!Q", time.clock_gettime_ns(time.CLOCK_REALTIME)) + bytes(56))


def receive(port, seconds):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.bind(("0.0.0.0", port))
    sock.settimeout(seconds)
    while True:
        try:
            data, control, _, _ = sock.recvmsg(2048, 256)
        except TimeoutError:
            return
        sock.settimeout(1.0)
        for level, kind, value in control:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                s, ns = struct.unpack("qq", value[:16])
                print(s * 1_000_000_000 + ns - struct.unpack("!Q", data[:8])[0])


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
    else:
        receive(int(sys.argv[2]), float(sys.argv[3]))
