from __future__ import annotations

import subprocess
import sys

import pytest

from migrator.process import lazy

RARE = "nturl2path"  # a module of the standard library that nothing here imports


@pytest.fixture(autouse=True)
def not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, RARE, raising=False)


def test_a_module_is_not_loaded_by_its_import() -> None:
    with lazy.without(RARE):
        import nturl2path  # noqa: PLC0415
    assert "url2pathname" not in vars(nturl2path)
    assert RARE not in sys.modules


def test_it_is_loaded_when_it_is_used() -> None:
    with lazy.without(RARE):
        import nturl2path  # noqa: PLC0415
    assert nturl2path.url2pathname("///C:/a") == "C:\\a"
    assert sys.modules[RARE].url2pathname is nturl2path.url2pathname


def test_it_can_be_used_in_the_block() -> None:
    with lazy.without(RARE):
        from nturl2path import url2pathname  # noqa: PLC0415
    assert url2pathname("///C:/a") == "C:\\a"


def test_who_looks_whether_it_is_there_finds_nothing() -> None:
    with lazy.without(RARE):
        assert not sys.modules.get(RARE)


def test_what_is_imported_already_is_left_alone() -> None:
    import nturl2path  # noqa: PLC0415

    with lazy.without(RARE):
        assert sys.modules[RARE] is nturl2path
    assert sys.modules[RARE] is nturl2path


def test_the_libraries_are_whole_without_what_they_ask_for() -> None:
    program = (
        "import sys; from migrator.process import log; from migrator.server import connect;"
        "assert not {'asyncio', 'ssl', 'uuid'} & set(sys.modules), sys.modules;"
        "import asyncio, ssl, uuid, structlog, psycopg2;"
        "assert ssl.create_default_context() and uuid.uuid4();"
        "asyncio.run(structlog.get_logger().ainfo('it works'));"
        "from dataclasses import make_dataclass;"
        "assert make_dataclass('Point', ['x']).__doc__.startswith('Point(x')"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (run.stderr, run.returncode) == ("", 0)
    assert "it works" in run.stdout
