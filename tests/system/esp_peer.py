"""ESP by a second implementation, for the other end of a tunnel: RFC 4303 with python-cryptography's ciphers. It shares
nothing with ebpf/esp; what the two agree on is the standard. Bytes in, bytes out: no sockets, no gw-fastpath.

A Transform seals any plaintext, well-formed or not: what an authenticated but broken (or hostile) peer may send."""
import hmac
import os
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
except ImportError:
    TripleDES = algorithms.TripleDES

IPV4, IPV6, DUMMY = 4, 41, 59  # next headers: RFC 4303 2.6, IANA


class NotAuthentic(Exception):
    """The ICV is wrong."""


def associated_data(spi, sequence, esn):
    """RFC 4106 5: SPI and the sequence number, 64 bits of it with ESN."""
    return struct.pack(">IQ" if esn else ">II", spi, sequence if esn else sequence & 0xffffffff)


@dataclass(frozen=True)
class Gcm:
    """AES-GCM, RFC 4106. `icv` 8, 12 or 16 bytes."""
    bits: int = 256
    icv: int = 16
    iv_bytes, align, salt_bytes, integrity_bytes = 8, 4, 4, 0

    @property
    def name(self):
        return f"AES_GCM_{self.icv}"

    @property
    def key_bytes(self):
        return self.bits // 8

    def seal(self, key, spi, sequence, text, esn, iv):
        cipher = Cipher(algorithms.AES(key[:-4]), modes.GCM(key[-4:] + iv)).encryptor()
        cipher.authenticate_additional_data(associated_data(spi, sequence, esn))
        sealed = cipher.update(text) + cipher.finalize()
        return sealed + cipher.tag[:self.icv]

    def open(self, key, spi, sequence, iv, sealed, esn):
        text, tag = sealed[:-self.icv], sealed[-self.icv:]
        cipher = Cipher(algorithms.AES(key[:-4]), modes.GCM(key[-4:] + iv, tag, min_tag_length=self.icv)).decryptor()
        cipher.authenticate_additional_data(associated_data(spi, sequence, esn))
        try:
            return cipher.update(text) + cipher.finalize()
        except InvalidTag:
            refuse()


@dataclass(frozen=True)
class ChaCha:
    """ChaCha20-Poly1305, RFC 7634."""
    bits: int = 256
    icv: int = 16
    iv_bytes, align, salt_bytes, integrity_bytes = 8, 4, 4, 0
    name, key_bytes = "CHACHA20_POLY1305", 32

    def seal(self, key, spi, sequence, text, esn, iv):
        return ChaCha20Poly1305(key[:-4]).encrypt(key[-4:] + iv, text, associated_data(spi, sequence, esn))

    def open(self, key, spi, sequence, iv, sealed, esn):
        try:
            return ChaCha20Poly1305(key[:-4]).decrypt(key[-4:] + iv, sealed, associated_data(spi, sequence, esn))
        except InvalidTag:
            refuse()


# HMAC by name: digest, key bytes, ICV bytes (RFC 2404, RFC 4868).
HMACS = {"HMAC_SHA1_96": ("sha1", 20, 12), "HMAC_SHA2_256_128": ("sha256", 32, 16), "HMAC_SHA2_384_192": ("sha384", 48, 24),
         "HMAC_SHA2_512_256": ("sha512", 64, 32)}


@dataclass(frozen=True)
class Separate:
    """A cipher and an HMAC of their own: AES-CBC (RFC 3602), 3DES-CBC (RFC 2451), NULL (RFC 2410). With ESN the high
    half of the sequence number is hashed behind the packet (RFC 4303 2.2.1)."""
    cipher: str = "AES_CBC"
    bits: int = 256
    integrity: str = "HMAC_SHA2_256_128"
    salt_bytes = 0

    @property
    def name(self):
        return self.cipher

    @property
    def key_bytes(self):
        return self.bits // 8

    @property
    def integrity_bytes(self):
        return HMACS[self.integrity][1]

    @property
    def icv(self):
        return HMACS[self.integrity][2]

    @property
    def iv_bytes(self):
        return {"AES_CBC": 16, "TRIPLE_DES_CBC": 8, "NULL_CIPHER": 0}[self.cipher]

    @property
    def align(self):
        return max(4, self.iv_bytes)

    def _cipher(self, key, iv):
        algorithm = algorithms.AES(key) if self.cipher == "AES_CBC" else TripleDES(key)
        return Cipher(algorithm, modes.CBC(iv))

    def _icv(self, key, spi, sequence, iv, text, esn):
        covered = struct.pack(">II", spi, sequence & 0xffffffff) + iv + text
        if esn:
            covered += struct.pack(">I", sequence >> 32)
        return hmac.digest(key[self.key_bytes:], covered, HMACS[self.integrity][0])[:self.icv]

    def seal(self, key, spi, sequence, text, esn, iv):
        if self.iv_bytes:
            text += bytes(-len(text) % self.iv_bytes)  # a test's odd plaintext: whole blocks
            encryptor = self._cipher(key[:self.key_bytes], iv).encryptor()
            text = encryptor.update(text) + encryptor.finalize()
        return text + self._icv(key, spi, sequence, iv, text, esn)

    def open(self, key, spi, sequence, iv, sealed, esn):
        text, tag = sealed[:-self.icv], sealed[-self.icv:]
        if not hmac.compare_digest(self._icv(key, spi, sequence, iv, text, esn), tag):
            refuse()
        if not self.iv_bytes:
            return text
        decryptor = self._cipher(key[:self.key_bytes], iv).decryptor()
        return decryptor.update(text) + decryptor.finalize()


def refuse():
    raise NotAuthentic


def trailer(payload: bytes, next_header, align=4, pad=None, pad_bytes=None, pad_length=None):
    """`payload` with padding 1, 2, 3, ... and the two last bytes (RFC 4303 2.4); or what a broken peer makes of it."""
    if pad is None:
        pad = -(len(payload) + 2) % align
    if pad_bytes is None:
        pad_bytes = bytes(n & 0xff for n in range(1, pad + 1))
    return payload + pad_bytes + bytes([pad if pad_length is None else pad_length, next_header])


class EspSa:
    """One direction of an SA. Keys as charon hands them over: cipher key and salt, then the integrity key."""

    def __init__(self, spi, transform=Gcm(), esn=True, key=None):
        self.spi, self.transform, self.esn = spi, transform, esn
        self.key = key or os.urandom(transform.key_bytes + transform.salt_bytes + transform.integrity_bytes)
        self.sequence = 0
        self.seen_ivs = set()
        self.highest = 0  # received

    def next_sequence(self):
        self.sequence += 1
        return self.sequence

    def seal_text(self, text: bytes, sequence=None, iv=None) -> bytes:
        """An ESP packet (SPI to ICV) with this plaintext, whatever it is."""
        if sequence is None:
            sequence = self.next_sequence()
        t = self.transform
        if iv is None:
            iv = struct.pack(">Q", 0x1000000 + sequence) if t.salt_bytes else os.urandom(t.iv_bytes)
        return struct.pack(">II", self.spi, sequence & 0xffffffff) + iv + t.seal(self.key, self.spi, sequence, text, self.esn, iv)

    def seal(self, inner: bytes, sequence=None, next_header=None, **odd) -> bytes:
        if next_header is None:
            next_header = IPV4 if inner and inner[0] >> 4 == 4 else IPV6
        return self.seal_text(trailer(inner, next_header, self.transform.align, **odd), sequence)

    def open(self, esp: bytes, sequence=None):
        """(plaintext with trailer, sequence, iv); raises if it does not authenticate. The sequence number's high half is
        the caller's, or the nearest to the highest one seen."""
        spi, low = struct.unpack(">II", esp[:8])
        assert spi == self.spi, f"SPI {spi:#x}, not {self.spi:#x}"
        if sequence is None:
            sequence = self.highest & ~0xffffffff | low
            if self.esn and sequence + (1 << 31) < self.highest:
                sequence += 1 << 32
        assert sequence & 0xffffffff == low
        iv = esp[8:8 + self.transform.iv_bytes]
        text = self.transform.open(self.key, spi, sequence, iv, esp[8 + len(iv):], self.esn)
        if iv:
            assert iv not in self.seen_ivs, f"IV {iv.hex()} was used twice"
            self.seen_ivs.add(iv)
        self.highest = max(self.highest, sequence)
        return text, sequence, iv


def payload_of(text: bytes, align=4):
    """(payload, next header) of a plaintext, padding checked (RFC 4303 2.4)."""
    pad, next_header = text[-2], text[-1]
    assert len(text) % align == 0 and pad + 2 <= len(text), "padding"
    assert text[len(text) - 2 - pad:-2] == bytes(n & 0xff for n in range(1, pad + 1)), "pad bytes"
    return text[:len(text) - 2 - pad], next_header


# --- outer headers ------------------------------------------------------------------------------------

def ones_complement(data: bytes):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ipv4(src: bytes, dst: bytes, protocol, payload: bytes, tos=0, ttl=64, flags=0x4000, ident=0, options=b"", **wrong):
    """`wrong`: total, ihl, version, checksum instead of the right ones."""
    ihl = wrong.get("ihl", 5 + len(options) // 4)
    total = wrong.get("total", 20 + len(options) + len(payload))
    header = struct.pack(">BBHHHBBH", wrong.get("version", 4) << 4 | ihl, tos, total, ident, flags, ttl, protocol, 0) + src + dst + options
    checksum = wrong.get("checksum", ones_complement(header))
    return header[:10] + struct.pack(">H", checksum) + header[12:] + payload


def ipv6(src: bytes, dst: bytes, protocol, payload: bytes, tos=0, ttl=64, **wrong):
    """`wrong`: length, version."""
    word = wrong.get("version", 6) << 28 | tos << 20
    return struct.pack(">IHBB", word, wrong.get("length", len(payload)), protocol, ttl) + src + dst + payload


def ip(src: bytes, dst: bytes, protocol, payload: bytes, **fields):
    return (ipv4 if len(src) == 4 else ipv6)(src, dst, protocol, payload, **fields)


def udp(src: bytes, dst: bytes, ports, payload: bytes, checksum=None, length=None):
    """`checksum` None: computed."""
    length = 8 + len(payload) if length is None else length
    datagram = struct.pack(">HHHH", *ports, length & 0xffff, 0) + payload
    if checksum is None:
        checksum = ones_complement(src + dst + struct.pack(">II", len(datagram), 17) + datagram) or 0xffff
    return datagram[:6] + struct.pack(">H", checksum) + datagram[8:]
