"""Tests of packages and images stand on the system tests' lab: its namespaces, sites and probes."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "system")]

pytest_plugins = []
DEFAULT_TIMEOUT = 300  # s

import lab as lab_module  # noqa: E402
import pytest  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run the long tests, too")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: runs with --full only")
    lab_module.unwind_on_signals()


def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.get_closest_marker("long") and not config.getoption("--full"):
            item.add_marker(pytest.mark.skip(reason="long: needs --full"))
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(DEFAULT_TIMEOUT))
