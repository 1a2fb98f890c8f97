#!/usr/bin/env python3
"""Fails when a package includes a header that its place in the architecture forbids.

base <- proto <- {routes, ha, bgp, ike, ebpf} <- gwd; sideways only bgp -> routes; ebpf and gwd are two
programs that share base, proto and ebpf/abi; cli is a client of the API and sees base and proto, and the doctor's
rules, which know nothing but a snapshot of proto, and the certificates that it makes for gwd.
"""
import pathlib
import re
import sys

ALLOWED = {
    "base": {"base"},
    "proto": {"proto"},
    "routes": {"base", "proto", "routes"},
    "ha": {"base", "proto", "ha"},
    "bgp": {"base", "proto", "bgp", "routes"},
    "ike": {"base", "proto", "ike", "ebpf/abi"},
    "ebpf": {"base", "proto", "ebpf"},
    "gwd": {"base", "proto", "routes", "ha", "bgp", "ike", "gwd", "ebpf/abi"},
    "cli": {"base", "proto", "cli", "gwd/doctor", "gwd/pki"},
}
# Inside ebpf, the codec knows no I/O; inside gwd, the doctor knows only what a snapshot says.
NARROWER = {
    "ebpf/esp": {"base", "ebpf/esp", "ebpf/abi"},
    "ebpf/abi": {"ebpf/abi"},
    "ebpf/fib": {"base", "ebpf/fib", "ebpf/abi"},
    "gwd/doctor": {"base", "proto", "gwd/doctor"},
    "gwd/pki": {"base", "gwd/pki"},
}
PACKAGES = set(ALLOWED)
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
SUFFIXES = {".hpp", ".cpp", ".h", ".c"}


def target_of(path):
    """The package a quoted include names, or None for a file beside the includer."""
    if path.startswith("ebpf/abi/"):
        return "ebpf/abi"
    if path.startswith("gw/"):  # generated from proto/gw
        return "proto"
    head = path.split("/", 1)[0]
    return head if head in PACKAGES and "/" in path else None


def rules_for(relative):
    for folder, allowed in NARROWER.items():
        if relative.startswith(folder + "/"):
            return folder, allowed
    package = relative.split("/", 1)[0]
    return package, ALLOWED.get(package)


def permitted(include, target, allowed):
    if target in allowed:
        return True
    if target == "ebpf/abi" and "ebpf" in allowed:
        return True
    return any("/" in a and include.startswith(a + "/") for a in allowed)


def check(top):
    faults = []
    for package in sorted(PACKAGES):
        for file in sorted((top / package).rglob("*")):
            if file.suffix not in SUFFIXES:
                continue
            relative = str(file.relative_to(top))
            name, allowed = rules_for(relative)
            for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
                match = INCLUDE.match(line)
                if not match:
                    continue
                target = target_of(match[1])
                if target and not permitted(match[1], target, allowed):
                    faults.append(f"{relative}:{number}: {name} may not include {match[1]}")
    return faults


def main():
    top = pathlib.Path(__file__).resolve().parents[2]
    faults = check(top)
    print("\n".join(faults) if faults else "include directions: ok")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
