"""A new setting is declared in one place, and the tests of each list of settings then fail."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from migrator.process import settings
from scripts.configuration import DOCUMENTS
from tests.unit.deploy import test_compose, test_kubernetes
from tests.unit.documents import test_configuration, test_env_example

if TYPE_CHECKING:
    from collections.abc import Callable


END = "\n\n\nclass LogSettings(NamedTuple):\n"
# What checks each of the lists.
LISTS: dict[str, Callable[[], None]] = {
    "docs/configuration.md": test_configuration.test_every_variable_is_in_the_table,
    ".env.example": test_env_example.test_it_shows_the_variables_that_exist,
    "deploy/kubernetes": (
        test_kubernetes.test_a_setting_without_a_default_is_set_or_left_out_for_a_reason
    ),
    **{
        f"{file}, by `make docs`": partial(test_configuration.test_a_document_is_up_to_date, file)
        for file in DOCUMENTS
    },
    **{
        file: partial(
            test_compose.test_every_setting_reaches_the_container_or_is_left_out_for_a_reason, file
        )
        for file in test_compose.LEFT_OUT_OF
    },
}


def with_field(line: str) -> ModuleType:
    """Return migrator.process.settings with one more line at the end of the class Settings."""
    source = Path(settings.__file__).read_text("utf-8")
    assert source.count(END) == 1
    module = ModuleType("changed_settings")
    exec(source.replace(END, f"\n    {line}{END}"), vars(module))  # noqa: S102
    return module


def test_a_field_is_all_that_it_takes() -> None:
    changed = with_field(
        'new: float = _setting("MIGRATOR_NEW", _TIME, "A text.", default="5s", flag="--new")'
    )
    assert changed.load_settings({}).new == 5
    assert changed.load_settings({"MIGRATOR_NEW": "2min"}).new == 120
    assert changed.load_log_settings({}) == settings.load_log_settings({})
    assert changed.check_names({"MIGRATOR_NEW": "1s"}) == []
    [new] = [variable for variable in changed.VARIABLES if variable.name == "MIGRATOR_NEW"]
    assert (new.default, new.flag, new.metavar, new.text) == ("5s", "--new", "TIME", "A text.")


def test_a_secret_has_a_file_without_another_word(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    changed = with_field('new: str | None = _setting("MIGRATOR_NEW", _PASSWORD, "A text.")')
    assert changed.load_settings({"MIGRATOR_NEW_FILE": f"{tmp_path}/secret"}).new == "s3cret"
    assert changed.check_names({"MIGRATOR_NEW_FILE": ""}) == []


@pytest.mark.parametrize("name", LISTS)
def test_a_list_without_the_new_setting_is_noticed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    LISTS[name]()
    changed = with_field('new: Path | None = _setting("MIGRATOR_NEW", _FILE, "A text.")')
    for module in (test_compose, test_configuration, test_env_example, test_kubernetes):
        monkeypatch.setattr(module, "VARIABLES", changed.VARIABLES)
    with pytest.raises(AssertionError):
        LISTS[name]()


@pytest.mark.parametrize("name", LISTS)
def test_a_list_with_a_setting_that_is_gone_is_noticed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = tuple(v for v in settings.VARIABLES if v.name != "MIGRATOR_SCRATCH_URL")
    for module in (test_compose, test_configuration, test_env_example, test_kubernetes):
        monkeypatch.setattr(module, "VARIABLES", rest)
    with pytest.raises(AssertionError):
        LISTS[name]()


def test_a_document_with_a_name_that_is_gone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    test_configuration.test_every_name_in_a_document_is_that_of_a_setting()
    rest = tuple(v for v in settings.VARIABLES if v.name != "MIGRATOR_LOCK_WAIT")
    monkeypatch.setattr(test_configuration, "VARIABLES", rest)
    with pytest.raises(AssertionError):
        test_configuration.test_every_name_in_a_document_is_that_of_a_setting()
