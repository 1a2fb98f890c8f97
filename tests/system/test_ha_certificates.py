"""Certificates of the sync channel that end soon: an alarm, a finding with the command that helps, a metric; and none of it once they are
renewed, which the instances do not notice otherwise. ha_lab.py has the drawing."""

import datetime
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from coexistence import eventually
from gateway import GWCTL
from ha import HaWorld
from ha_lab import GW_A, SINGLE
from lab import command

DAY = 24 * 3600


@pytest.fixture(scope="module")
def world():
    with HaWorld("test_ha_certificates", sites=(SINGLE,), bfd_ms=150) as ready:
        ready.settle_all()
        yield ready


def alarms(gateway) -> list[dict]:
    return [a for a in gateway.ha().get("alarms", []) if a["kind"].startswith("HaCertificate")]


def findings(gateway) -> list[dict]:
    reply = json.loads(gateway.ctl("--json", "doctor", check=False))
    return [f for f in reply.get("findings", []) if f["name"] == "CertificateEnds"]


def seconds_left(gateway, file: str) -> float:
    line = next(line for line in gateway.metrics().splitlines() if line.startswith("gw_certificate_expiry_seconds{") and f'{file}"' in line)
    return float(line.split()[-1])


def replace_certificate(folder, days: int):
    """As `gwctl ha renew` does, with another end."""
    authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    authority_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "hub-lab"), x509.NameAttribute(NameOID.COMMON_NAME, "gw-a")]
    certificate = (x509.CertificateBuilder().subject_name(x509.Name(names)).issuer_name(authority.subject).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
                   .not_valid_after(now + datetime.timedelta(days=days))
                   .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier("gw://hub-lab/gw-a")]), False)
                   .sign(authority_key, hashes.SHA256()))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for name, text in (("gw-a.key", private), ("gw-a.crt", certificate.public_bytes(serialization.Encoding.PEM))):
        new = folder / f"{name}.new"
        new.touch(0o600)
        new.write_bytes(text)
        new.rename(folder / name)


@pytest.mark.timeout(180)
def test_a_certificate_that_ends_is_said_until_it_is_renewed(world):
    gateway = world.of(GW_A)
    folder = gateway.etc / "ha"
    assert not alarms(gateway) and not findings(gateway)
    assert seconds_left(gateway, "gw-a.crt") > 700 * DAY and seconds_left(gateway, "ca.crt") > 3600 * DAY

    replace_certificate(folder, days=20)
    eventually("a warning", lambda: [a["severity"] for a in alarms(gateway)] == ["warning"], 20)
    gateway.ctl("ha", "show", "--check")  # nothing is down
    replace_certificate(folder, days=3)
    eventually("an error", lambda: [a["severity"] for a in alarms(gateway)] == ["error"], 20)
    assert "for 2 more days: gwctl ha renew" in alarms(gateway)[0]["text"]
    found, = findings(gateway)
    assert found["severity"] == "error" and found["remedy"][0].startswith("gwctl ha renew"), found
    assert 2 * DAY < seconds_left(gateway, "gw-a.crt") <= 3 * DAY

    command([GWCTL, "ha", "renew", "--dir", folder])
    eventually("nothing to say", lambda: not alarms(gateway) and not findings(gateway), 20)
    assert gateway.gwd.log.read_text().count("gwctl ha renew") == 2, "each once"
    eventually("the instances hear each other", lambda: all(p.get("sync") for p in gateway.ha()["peers"]))
