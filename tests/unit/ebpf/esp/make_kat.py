#!/usr/bin/env python3
"""Writes kat.inc: whole ESP packets made by scapy (its own ESP over python-cryptography), the known answers of
kat_test.cpp. Run in the root: python3 tests/unit/ebpf/esp/make_kat.py > tests/unit/ebpf/esp/kat.inc
"""
import itertools
import logging

logging.getLogger("scapy").setLevel(logging.ERROR)
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.packet import Raw

SALT = bytes.fromhex("cafebabe")
INSTANCE, EPOCH = 3, 0x12345


def inner_packet(version, size, tos):
    payload = bytes((7 * i + size) & 0xFF for i in range(size))
    if version == 4:
        return IP(src="10.1.0.5", dst="172.16.9.7", ttl=63, id=77, tos=tos) / UDP(sport=5000, dport=53) / Raw(payload)
    return IPv6(src="2001:db8:1::5", dst="2001:db8:2::7", hlim=63, tc=tos) / UDP(sport=5000, dport=53) / Raw(payload)


def main():
    number = 0
    print("// Made by make_kat.py; do not edit.")
    for outer, inner, udp, esn, key_bytes in itertools.product((4, 6), (4, 6), (False, True), (False, True), (16, 24, 32)):
        if outer == 6 and udp:
            continue  # the UDP checksum is checked on its own, in roundtrip_test.cpp
        number += 1
        seq = (number << 32 | 0x1000 + number) if esn else 0x1000 + number
        counter = 0x0102030400 + number
        key = bytes((number + 3 * i) & 0xFF for i in range(key_bytes))
        tos = (0xB8, 0xBA, 0x29, 0x00)[number % 4]
        low = seq & 0xFFFFFFFF
        if outer == 4:
            header = IP(src="203.0.113.10", dst="198.51.100.20", ttl=64, flags="DF", id=low & 0xFFFF, tos=tos)
        else:
            header = IPv6(src="2001:db8:f::10", dst="2001:db8:e::20", hlim=64, tc=tos)
        sa = SecurityAssociation(
            ESP, spi=0xC0FFEE00 + number, crypt_algo="AES-GCM", crypt_key=key + SALT, tunnel_header=header,
            nat_t_header=UDP(sport=4500, dport=4500, chksum=0) if udp else None)
        plain = inner_packet(inner, 16 + number, tos)
        iv = (INSTANCE << 60 | EPOCH << 40 | counter).to_bytes(8, "big")
        # scapy computes UDP checksums on build; RFC 3948 wants 0, which is put back into the bytes.
        out = sa.encrypt(plain, seq_num=low, iv=iv, esn_en=esn, esn=seq >> 32 if esn else None)
        wire = bytearray(bytes(out))
        if udp:
            wire[26:28] = b"\0\0"
        print(f'{{"{outer}in{inner}{"_udp" if udp else ""}{"_esn" if esn else ""}_{key_bytes * 8}", {outer}, '
              f'{str(udp).lower()}, {str(esn).lower()}, 0x{0xC0FFEE00 + number:x}U, {seq}U, {counter}U,\n'
              f' "{(key + SALT).hex()}",\n "{bytes(plain).hex()}",\n "{wire.hex()}"}},')


main()
