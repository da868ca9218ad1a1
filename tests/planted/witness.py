"""Loaded into the pytest that runs in a copy: notes how each test ended, and what was imported from where."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings

# A patch that stumbles over a name is a slip of whoever wrote it, not the bug it was meant to plant.
ACCIDENTS = (ImportError, NameError, SyntaxError, AttributeError, TypeError)

_ended: dict[str, dict[str, str]] = {}


def pytest_sessionstart() -> None:
    # After the conftest chose its own and before a test is read: the same examples each time, and none cut down,
    # for it is enough to know that there is one.
    settings.register_profile(
        "planted", deadline=None, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
    )
    settings.load_profile("planted")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # What fails as it is cleared away was judged already, if it failed.
    is_first = _ended.get(item.nodeid, {}).get("outcome", "passed") == "passed"
    if is_first and (report.when == "call" or report.outcome != "passed"):
        raised = list(_flat(call.excinfo.value)) if call.excinfo else []
        _ended[item.nodeid] = {
            "outcome": report.outcome if report.when == "call" else f"{report.outcome} in its {report.when}",
            "raised": ", ".join(type(error).__name__ for error in raised),
            "accident": next((repr(error) for error in raised if isinstance(error, ACCIDENTS)), ""),
            "said": str(raised[0]).partition("\n")[0][:200] if raised else "",
        }
    return report


def _flat(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _flat(each)
    else:
        yield error


def pytest_sessionfinish() -> None:
    imported = {
        name: module.__file__
        for name, module in sys.modules.items()
        if name.partition(".")[0].startswith("overfence") and getattr(module, "__file__", None)
    }
    Path(os.environ["OVERFENCE_WITNESS"]).write_text(json.dumps({"ended": _ended, "imported": imported}))
