"""A small synchronous VICI client for the tests (Debian ships none): strongSwan's control protocol.

Wire: u32 big-endian length, packet type, name where the type has one, then a tree of key/values, sections and
lists. Values come back as str; bytes that are not UTF-8 come back as bytes.
"""
import socket
import struct
from collections import deque

CMD_REQUEST, CMD_RESPONSE, CMD_UNKNOWN, EVENT_REGISTER, EVENT_UNREGISTER, EVENT_CONFIRM, EVENT_UNKNOWN, EVENT = range(8)
SECTION_START, SECTION_END, KEY_VALUE, LIST_START, LIST_ITEM, LIST_END = range(1, 7)


class ViciError(Exception):
    pass


def _bytes(value):
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return b"yes" if value else b"no"
    return str(value).encode()


def encode(tree):
    out = bytearray()
    for key, value in tree.items():
        name = key.encode()
        head = bytes([len(name)]) + name
        if isinstance(value, dict):
            out += bytes([SECTION_START]) + head + encode(value) + bytes([SECTION_END])
        elif isinstance(value, (list, tuple)):
            out += bytes([LIST_START]) + head
            for item in map(_bytes, value):
                out += struct.pack(">BH", LIST_ITEM, len(item)) + item
            out.append(LIST_END)
        else:
            data = _bytes(value)
            out += bytes([KEY_VALUE]) + head + struct.pack(">H", len(data)) + data
    return bytes(out)


def decode(data):
    stack, items, at = [{}], None, 0

    def take(count):
        nonlocal at
        if at + count > len(data):
            raise ViciError("truncated message")
        at += count
        return data[at - count:at]

    def value():
        raw = take(struct.unpack(">H", take(2))[0])
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw

    while at < len(data):
        kind = take(1)[0]
        name = take(take(1)[0]).decode() if kind in (SECTION_START, KEY_VALUE, LIST_START) else None
        if kind == SECTION_START:
            stack[-1][name] = {}
            stack.append(stack[-1][name])
        elif kind == SECTION_END:
            stack.pop()
        elif kind == KEY_VALUE:
            stack[-1][name] = value()
        elif kind == LIST_START:
            items = stack[-1][name] = []
        elif kind == LIST_ITEM:
            items.append(value())
        elif kind != LIST_END:
            raise ViciError(f"unknown element type {kind}")
    return stack[0]


class Vici:
    """One connection. Events that arrive while a command runs are kept in `events` as (name, message)."""

    def __init__(self, path, timeout=30):
        self.events = deque()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))

    def close(self):
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def request(self, command, message=None):
        """Returns the response; a response with success=no raises ViciError with charon's reason."""
        self._send(CMD_REQUEST, command, encode(message or {}))
        response = self._await(CMD_RESPONSE, command)
        if response.get("success") == "no":
            raise ViciError(f"{command}: {response.get('errmsg', 'failed')}")
        return response

    def stream(self, command, event, message=None):
        """Runs a command that answers by events (list-sas by list-sa): the list of their messages."""
        self.register(event)
        kept, self.events = self.events, deque()
        try:
            self.request(command, message)
        finally:
            found = [m for name, m in self.events if name == event]
            self.events = kept
            self._send(EVENT_UNREGISTER, event)
            self._await(EVENT_CONFIRM, event)
        return found

    def register(self, event):
        self._send(EVENT_REGISTER, event)
        self._await(EVENT_CONFIRM, event)

    def sas(self):
        """{IKE SA name: its section}; of several with one name the last."""
        return {name: sa for message in self.stream("list-sas", "list-sa") for name, sa in message.items()}

    def _send(self, kind, name, message=b""):
        name = name.encode()
        packet = bytes([kind, len(name)]) + name + message
        self._socket.sendall(struct.pack(">I", len(packet)) + packet)

    def _read(self, count):
        data = bytearray()
        while len(data) < count:
            chunk = self._socket.recv(count - len(data))
            if not chunk:
                raise ViciError("charon closed the connection")
            data += chunk
        return bytes(data)

    def _await(self, wanted, what):
        while True:
            packet = self._read(struct.unpack(">I", self._read(4))[0])
            if packet[0] == EVENT:
                length = packet[1]
                self.events.append((packet[2:2 + length].decode(), decode(packet[2 + length:])))
            elif packet[0] == wanted:
                return decode(packet[1:])
            else:
                raise ViciError(f"{what}: charon knows no such command or event")
