"""The manifests of `deploy/kubernetes`, and what becomes of one with a patch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
OBJECTS: dict[str, dict[str, Any]] = {
    path.name: yaml.safe_load(path.read_text("utf-8")) for path in FOLDER.glob("*.yaml")
}
# What names an element of a list, in API order: `patchMergeKey` of the API's types. Any other list
# takes the place of the one that is there.
_KEYS = {
    "containers": "name",
    "env": "name",
    "initContainers": "name",
    "volumeMounts": "mountPath",
    "volumes": "name",
}


def patched(name: str, patch: str) -> dict[str, Any]:
    """Return an object with a patch, as `kubectl` and Kustomize merge them.

    The rules are those of a strategic merge patch
    (https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/).

    Args:
        name: of the file with the object.
        patch: of the file with the patch.
    """
    merged: dict[str, Any] = _merged(OBJECTS[name], OBJECTS[patch], "")
    return merged


def _merged(old: Any, new: Any, key: str) -> Any:  # noqa: ANN401 - any part of an object
    if isinstance(old, dict) and isinstance(new, dict):
        both = {name: _merged(old[name], new[name], name) for name in old.keys() & new.keys()}
        return {**old, **new, **both}
    if isinstance(old, list) and isinstance(new, list) and key in _KEYS:
        by_name = {element[_KEYS[key]]: element for element in old}
        for element in new:
            name = element[_KEYS[key]]
            by_name[name] = _merged(by_name.get(name), element, "")
        return list(by_name.values())
    return new


def environment(job: dict[str, Any], container: str = "migrator") -> dict[str, str]:
    """Return the environment that a container of a Job is given.

    Args:
        job: the object.
        container: the container's name.
    """
    [found] = [one for one in _pod(job)["containers"] if one["name"] == container]
    return {entry["name"]: entry["value"] for entry in found["env"]}


def arguments(job: dict[str, Any], container: str = "migrator") -> list[str]:
    """Return the arguments that a container of a Job is given."""
    [found] = [one for one in _pod(job)["containers"] if one["name"] == container]
    args: list[str] = found.get("args", [])
    return args


def _pod(job: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = job["spec"]["template"]["spec"]
    return spec
