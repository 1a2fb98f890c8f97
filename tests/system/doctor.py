"""What `gwctl doctor` says of a gateway, for tests: nothing, or a finding by its name and subject."""

from __future__ import annotations

import json

from gateway import Gateway
from lab import poll


def report(gateway: Gateway) -> dict:
    return json.loads(gateway.ctl("--json", "doctor", check=False) or "{}")


def findings(gateway: Gateway) -> dict[tuple[str, str], dict]:
    return {(f["name"], f["subject"]): f for f in report(gateway).get("findings", [])}


def wait_healthy(*gateways: Gateway, seconds: float = 60):
    for gateway in gateways:
        poll(f"no findings at {gateway.instance} (now: {list(findings(gateway))})",
             lambda g=gateway: report(g).get("rules") and not findings(g), seconds, 0.5)


def wait_found(gateway: Gateway, name: str, subject: str, seconds: float = 40) -> dict:
    poll(f"{name} {subject} (now: {list(findings(gateway))})", lambda: (name, subject) in findings(gateway), seconds, 0.5)
    return findings(gateway)[name, subject]
