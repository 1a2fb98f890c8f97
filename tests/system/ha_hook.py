"""Two instances whose endpoints are moved by a program: the lab of ha_lab.py with a cloud's address API, and a program that uses it.

   gw-a eth0 192.0.2.2 --+                     endpoints, on nobody's link: 203.0.113.10 of gw-a, 203.0.113.11 of gw-b
                         +-- wan 192.0.2.1     routed to whichever instance the API was told
   gw-b eth0 192.0.2.3 --+

The API is HTTP on a UNIX socket: PUT /addresses/ADDRESS with an instance's name routes the address to that, DELETE ends it if it is
still that instance's. `AddressApi.fault` makes it refuse, as one that throttles, or hang.
"""

from __future__ import annotations

import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from ha import HaWorld, ha_document
from ha_lab import INSTANCES, HaInstance, HaLab, program
from lab import poll

ROUTER = "192.0.2.1"
REFUSAL = "RequestLimitExceeded: request limit exceeded"
HANGS = 60  # s
PROGRAM = """#!/bin/sh
# Told by gwd: take|release ADDRESS INTERFACE, and GW_INSTANCE.
call() {{
	curl -sS --fail-with-body --unix-socket {socket} -X "$1" -d "$GW_INSTANCE" "http://cloud/addresses/$2"
}}
case $1 in
take) call PUT "$2" ;;
release) call DELETE "$2" ;;
esac
"""


def own4(instance: HaInstance) -> str:
    return f"192.0.2.{2 + instance.index}"


class HookLab(HaLab):
    wan_router = ROUTER
    own_wan4 = staticmethod(own4)


@dataclass
class Call:
    """at: seconds of the wall clock."""

    at: float
    method: str
    address: str
    instance: str
    status: int


class AddressApi:
    """A process in the wan's namespace, where the routes are."""

    def __init__(self, lab: HookLab):
        self.socket, self.faults, self.log = (lab.run / f"address-api{end}" for end in (".sock", ".fault", ".log"))
        self.fault("")
        self.log.touch()
        owns = json.dumps({i.name: own4(i) for i in INSTANCES})
        lab.spawn("wan", "address-api", ["python3", os.path.abspath(__file__), self.socket, self.faults, self.log, owns])
        poll("the address API listens", self.socket.exists, 10)

    def fault(self, word: str):
        """"refuse", "hang", or "" for none; from the next call on."""
        self.faults.write_text(word)

    def calls(self, since: float = 0.0) -> list[Call]:
        """As they came in, also those that hang."""
        found = [Call(**json.loads(line)) for line in self.log.read_text().splitlines()]
        return [call for call in found if call.at >= since]


class HookWorld(HaWorld):
    lab_class = HookLab

    @property
    def program(self) -> Path:
        return self.lab.run / "move-address"

    def document(self, sites, bfd_ms: int, **changes) -> dict:
        doc = ha_document(sites, bfd_ms, **changes)
        for instance, words in zip(INSTANCES, doc["gateway"]["instances"]):
            words["wan"]["endpoints"] = [{"address": instance.wan4, "move": "hook", "hook": str(self.program)}]
        return doc

    def make_certificates(self):
        """The API and the program are there before the instances are."""
        super().make_certificates()
        self.api = AddressApi(self.lab)
        self.program.write_text(PROGRAM.format(socket=self.api.socket))
        self.program.chmod(0o755)

    def leads_to(self, address: str, instance: HaInstance) -> bool:
        return f"via {own4(instance)} " in self.lab.ns["wan"].run("ip", "route", "get", address, check=False)

    def running(self, instance: HaInstance) -> list[str]:
        """The program's processes there that wait for the API."""
        found = []
        for pid in self.lab.ns[instance.name].pids():
            try:
                if program(pid).startswith("curl "):
                    found.append(program(pid))
            except OSError:
                pass  # it ended meanwhile
        return found

    def alarms(self, instance: HaInstance) -> dict[str, str]:
        """Address -> what HaActionFailed says of it."""
        return {a.get("address", ""): a["text"] for a in self.of(instance).ha().get("alarms", []) if a["kind"] == "HaActionFailed"}

    def settle_all(self):
        super().settle_all()
        for instance in INSTANCES:
            poll(f"{instance.wan4} leads to {instance.name}", lambda i=instance: self.leads_to(i.wan4, i), 20)

    def restore_all(self):
        self.api.fault("")
        super().restore_all()


# --- the API itself --------------------------------------------------------------------------------------


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, socket: str, faults: str, log: str, owns: str):
        super().__init__(socket, Handler)
        self.faults, self.log, self.owns = Path(faults), log, json.loads(owns)
        self.holders: dict[str, str] = {}
        self.lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_PUT(self):
        self.carry_out("PUT")

    def do_DELETE(self):
        self.carry_out("DELETE")

    def carry_out(self, method: str):
        address = self.path.rpartition("/")[2]
        instance = self.rfile.read(int(self.headers["Content-Length"])).decode()
        fault = self.server.faults.read_text()
        self.note(method, address, instance, {"refuse": 503, "hang": 0}.get(fault, 200))
        if fault == "hang":
            return time.sleep(HANGS)
        if fault == "refuse":
            return self.answer(503, REFUSAL)
        with self.server.lock:
            self.route(method, f"{address}/32", instance)
        return self.answer(200, "done")

    def route(self, method: str, prefix: str, instance: str):
        holders = self.server.holders
        if method == "PUT":
            subprocess.run(["ip", "route", "replace", prefix, "via", self.server.owns[instance]], check=True)
            holders[prefix] = instance
        elif holders.get(prefix) == instance:
            subprocess.run(["ip", "route", "del", prefix], check=True)
            del holders[prefix]

    def note(self, method: str, address: str, instance: str, status: int):
        call = {"at": time.time(), "method": method, "address": address, "instance": instance, "status": status}
        with open(self.server.log, "a") as log:
            log.write(json.dumps(call) + "\n")

    def answer(self, status: int, words: str):
        self.send_response(status)
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        self.wfile.write(words.encode())

    def log_message(self, *_):
        """note() has it."""


if __name__ == "__main__":
    Server(*sys.argv[1:]).serve_forever()
