"""The Compose file and the Swarm stack hand every setting of the migrator on.

They decide some settings themselves: these have another value than the one that the user gives, or
they are left out for a reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from migrator.process.settings import VARIABLES

ROOT = Path(__file__).parents[3]
COMPOSE, SWARM = "deploy/compose/services.yml", "deploy/swarm/migrator.yml"
FLEET = "deploy/swarm/fleet.yml"
DECIDED_THERE = {"DATABASE_URL", "POSTGRES_PASSWORD_FILE"}
LEFT_OUT = {
    "DATABASE_URL_FILE": "the file decides the address",
    "POSTGRES_PASSWORD": "the file decides the password; in .env this is the backend's",
    "MIGRATIONS_DIR": "the image has its files in /migrations",
    "MIGRATOR_TABLE": "roles.sql and the scripts know the history by its default name",
    "MIGRATOR_ROLE": "roles.sql makes one role, which logs in and owns everything",
    "MIGRATOR_SCHEMA": "as MIGRATOR_TABLE: the history is in the schema public",
    **dict.fromkeys(
        (
            "MIGRATOR_TARGETS",
            "MIGRATOR_TARGETS_QUERY",
            "MIGRATOR_ONE_TARGET",
            "MIGRATOR_JOBS",
            "MIGRATOR_CANARY",
            "MIGRATOR_MAX_FAILURES",
            "MIGRATOR_SHARD",
        ),
        "the deployment has one database, with the roles that roles.sql makes",
    ),
}
LEFT_OUT_OF = {
    COMPOSE: LEFT_OUT,
    SWARM: LEFT_OUT
    | {
        "MIGRATOR_BACKFILL": "no service of the stack runs what was left",
        "MIGRATOR_BACKFILL_WARN": "no service of the stack runs what was left",
        "MIGRATOR_METRICS_FILE": "the stack mounts no folder that a collector reads",
        "MIGRATOR_SCRATCH_URL": "no service of the stack runs verify",
        "MIGRATOR_SCRATCH_URL_FILE": "no service of the stack runs verify",
    },
}
# The sentence of a document that says which settings a file takes from its user.
SAID_IN = {COMPOSE: "docs/deployment.md", SWARM: "deploy/swarm/README.md"}


def environments(file: str) -> list[dict[str, Any]]:
    """Return the environment of each service that runs the migrator."""
    services = yaml.safe_load((ROOT / file).read_text("utf-8"))["services"]
    return [
        service["environment"]
        for service in services.values()
        if service["image"].startswith("${MIGRATOR_IMAGE")
    ]


@pytest.mark.parametrize("file", LEFT_OUT_OF)
def test_every_setting_reaches_the_container_or_is_left_out_for_a_reason(file: str) -> None:
    known = {variable.name for variable in VARIABLES}
    assert known >= LEFT_OUT_OF[file].keys()
    assert environments(file)
    for environment in environments(file):
        assert environment.keys() == known - LEFT_OUT_OF[file].keys()


@pytest.mark.parametrize("file", LEFT_OUT_OF)
def test_a_value_that_is_not_decided_there_is_what_the_user_says(file: str) -> None:
    for environment in environments(file):
        for name in environment.keys() - DECIDED_THERE:
            value = environment[name]
            # Compose takes a name without a value from the user's environment and from .env.
            assert (value is None and file == COMPOSE) or value.startswith(f"${{{name}:-"), name


@pytest.mark.parametrize("file", LEFT_OUT_OF)
def test_the_document_says_which_are_left_out(file: str) -> None:
    """Otherwise somebody would set one of them in .env and believe that it has an effect."""
    text = (ROOT / SAID_IN[file]).read_text("utf-8")
    names = [f"`{name}`" for name in LEFT_OUT_OF[file] if name.startswith("MIGRATOR_")]
    listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    assert f"that begin with `MIGRATOR_`, except {listed} |" in text


class TestFleet:
    """The example for many targets takes few settings from its user, and each is a setting."""

    def test_the_environment_is_the_migrator_s(self) -> None:
        [environment] = environments(FLEET)
        assert environment.keys() <= {variable.name for variable in VARIABLES}
        for name in environment.keys() - {*DECIDED_THERE, "MIGRATOR_TARGETS", "MIGRATOR_SHARD"}:
            assert environment[name].startswith(f"${{{name}:-"), name

    def test_there_is_a_task_for_each_part(self) -> None:
        [service] = yaml.safe_load((ROOT / FLEET).read_text("utf-8"))["services"].values()
        assert service["deploy"]["mode"] == "replicated-job"
        assert service["environment"]["MIGRATOR_SHARD"].endswith(
            f"/{service['deploy']['replicas']}"
        )

    def test_it_is_in_the_stack_and_as_restricted_as_the_migrator_there(self) -> None:
        fleet, migrator = (
            yaml.safe_load((ROOT / file).read_text("utf-8")) for file in (FLEET, SWARM)
        )
        [service], other = fleet["services"].values(), migrator["services"]["migrator"]
        assert fleet["networks"] == migrator["networks"]
        for key in ("DATABASE_URL", "POSTGRES_PASSWORD_FILE"):
            assert service["environment"][key] == other["environment"][key]
        for key in ("read_only", "cap_drop", "networks"):
            assert service[key] == other[key]
        for key in ("endpoint_mode", "resources"):
            assert service["deploy"][key] == other["deploy"][key]
