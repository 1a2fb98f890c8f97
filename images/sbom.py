#!/usr/bin/env python3
"""sbom.py VERSION EPOCH < dpkg-query's lines: the packages of the image as SPDX 2.3 (JSON), the same for the same input."""

import datetime
import hashlib
import json
import re
import sys
import urllib.parse


def package(line: str) -> dict:
    name, version, architecture, source, source_version = line.split("\t")
    ours = source == "gw"
    purl = f"pkg:deb/debian/{name}@{urllib.parse.quote(version, safe='')}?arch={architecture}&distro=trixie"
    return {
        "SPDXID": "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", f"{name}-{architecture}"),
        "name": name, "versionInfo": version, "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
        "supplier": "NOASSERTION" if ours else "Organization: Debian",
        "sourceInfo": f"built from {source} {source_version}",
        "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
        **({} if ours else {"externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}]}),
    }


def main() -> int:
    version, epoch = sys.argv[1], int(sys.argv[2])
    lines = sorted(line for line in sys.stdin.read().splitlines() if line)
    packages = [package(line) for line in lines]
    if not packages:
        print("sbom: dpkg-query named no package", file=sys.stderr)
        return 1
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    json.dump({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": f"gw-appliance-{version}",
        "documentNamespace": f"https://gw.invalid/spdx/{version}/{digest}",
        "creationInfo": {"created": datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                         "creators": ["Tool: images/sbom.py"]},
        "packages": packages,
        "relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": p["SPDXID"]}
                          for p in packages],
    }, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
