"""pytest's side of the lab: one world a module, logs in build/logs/<module>, and a last line that sums up."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import lab as lab_module  # noqa: E402

DEFAULT_TIMEOUT = 90  # s, set-up of the module's world included


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run the long tests, too")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: runs with --full only")
    lab_module.unwind_on_signals()


def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(DEFAULT_TIMEOUT))
        if item.get_closest_marker("long") and not config.getoption("--full"):
            item.add_marker(pytest.mark.skip(reason="long: needs --full"))


def current_world(item):
    return item.funcargs.get("world") if hasattr(item, "funcargs") else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        world = current_world(item)
        logs = world.lab.logs if world is not None else lab_module.LOGS / item.module.__name__
        if world is not None and not world.lab.closed:
            lab_module.quietly(lambda: world.gateway.dump(logs / f"{item.name}-gateway-state.txt"))
        report.sections.append(("logs of this lab", str(logs)))
    return report


def pytest_terminal_summary(terminalreporter):
    count = {kind: len(terminalreporter.stats.get(kind, [])) for kind in ("passed", "failed", "error", "skipped")}
    for kind in ("failed", "error"):
        for report in terminalreporter.stats.get(kind, []):
            module = Path(report.fspath).stem
            terminalreporter.write_line(f"{kind.upper()}: {report.nodeid}; logs: build/logs/{module}*/")
    words = ", ".join(f"{n} {kind}" for kind, n in count.items() if n) or "none ran"
    terminalreporter.write_line(f"system tests: {words}")
