"""The compose file hands every setting of the migrator on, but for those that it decides itself."""

from __future__ import annotations

from pathlib import Path

import yaml

from migrator.process.settings import VARIABLES

ROOT = Path(__file__).parents[2]
ENVIRONMENT = yaml.safe_load((ROOT / "docker-compose.prod-standalone.yml").read_text("utf-8"))[
    "services"
]["migrator"]["environment"]

SET_THERE = {"DATABASE_URL", "POSTGRES_PASSWORD_FILE"}
NOT_TAKEN = {
    "DATABASE_URL_FILE",  # the address is set
    "POSTGRES_PASSWORD",  # the password is set, and in .env this is the one of the backend's role
    "MIGRATIONS_DIR",  # the image has its files in /migrations
    "MIGRATOR_TABLE",  # roles.sql and the scripts know the history by its default name
}


def test_every_other_setting_reaches_the_container() -> None:
    known = {variable.name for variable in VARIABLES}
    assert known >= NOT_TAKEN
    assert ENVIRONMENT.keys() == known - NOT_TAKEN


def test_what_is_not_set_there_is_what_the_user_says() -> None:
    for name in ENVIRONMENT.keys() - SET_THERE:
        value = ENVIRONMENT[name]
        assert value is None or value.startswith(f"${{{name}:-"), name


def test_the_document_says_which_do_not() -> None:
    """Of those that begin with MIGRATOR_; without a word on it one in .env would be believed."""
    text = (ROOT / "docs/deployment.md").read_text("utf-8")
    ours = [name for name in NOT_TAKEN if name.startswith("MIGRATOR_")]
    assert f"that begin so, but {', '.join(f'`{name}`' for name in ours)} |" in text
