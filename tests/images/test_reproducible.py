"""The same commit makes the same bytes: packages and image are made twice, in other folders, on another host's name, time zone,
language and umask.

What was compiled is the same both times (build/release): this is about packages and image, not about the compiler.
Some minutes, so only in ./dev test --full.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from lab import TOP

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

ELSEWHERE = {"TZ": "Pacific/Auckland", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}


def make(folder: Path, *, elsewhere: bool):
    words = f"umask {'027' if elsewhere else '022'}; images/package {folder}/packages && images/build --level 3 --packages {folder}/packages --out {folder}/image"
    if elsewhere:
        words = f"hostname elsewhere; {words}"
    done = subprocess.run(["unshare", "--uts", "bash", "-c", words], cwd=TOP, capture_output=True, text=True, timeout=900, check=False,
                          env={**os.environ, **(ELSEWHERE if elsewhere else {})})
    assert done.returncode == 0, done.stderr[-3000:]


def sums(folder: Path) -> dict[str, str]:
    """By name, of what SHA256SUMS lists, but the bundle: a signature is another one each time."""
    lines = [line.split() for line in (folder / "SHA256SUMS").read_text().splitlines()]
    return {name: digest for digest, name in lines if not name.endswith(".raucb")}


@pytest.fixture(scope="module")
def made():
    top = TOP / "build/reproducible"  # on the disk of the checkout: /tmp may be small
    shutil.rmtree(top, ignore_errors=True)
    try:
        make(top / "one", elsewhere=False)
        make(top / "another/place", elsewhere=True)
        yield top / "one", top / "another/place"
    finally:
        shutil.rmtree(top, ignore_errors=True)


@pytest.mark.parametrize("what", ["packages", "image"])
def test_made_twice_it_is_the_same(made, what):
    one, other = (sums(folder / what) for folder in made)
    assert len(one) >= 4 and one.keys() == other.keys()
    assert [name for name, digest in one.items() if other[name] != digest] == []
