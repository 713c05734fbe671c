"""deploy/kubernetes: the restricted profile, our exit statuses, our settings, the hooks.

`make check` compares the files with the API's schemas; this is what schemas do not know.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from migrator.process import errors
from migrator.process.settings import VARIABLES

FOLDER = Path(__file__).parents[3] / "deploy" / "kubernetes"
PATCHES = {"helm-hook.yaml": "helm.sh/", "argocd-presync.yaml": "argocd.argoproj.io/"}
OBJECTS: dict[str, dict[str, Any]] = {
    path.name: yaml.safe_load(path.read_text("utf-8")) for path in FOLDER.glob("*.yaml")
}
WORKLOADS = sorted(OBJECTS.keys() - PATCHES)
JOBS = [name for name in WORKLOADS if OBJECTS[name]["kind"] == "Job"]

LEFT_OUT = {
    "MIGRATOR_ROLE": "the login of the manifests owns what it makes",
    "MIGRATOR_SCHEMA": "the manifests are of databases with one schema",
    "MIGRATOR_SET": "the manifests have no values for files",
    "POSTGRES_PASSWORD": "a password in the manifest; POSTGRES_PASSWORD_FILE names a mounted file",
    "MIGRATOR_METRICS_FILE": "the manifests mount no folder that a collector reads",
    "MIGRATOR_SCRATCH_URL": "no manifest runs verify",
    "MIGRATOR_SCRATCH_URL_FILE": "no manifest runs verify",
}


def pod(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = OBJECTS[name]["spec"]["template"]["spec"]
    return spec


def containers(name: str) -> list[dict[str, Any]]:
    return [*pod(name).get("initContainers", []), *pod(name)["containers"]]


def test_they_are_all_here() -> None:
    assert WORKLOADS == ["backfill.yaml", "deployment.yaml", "indexed-job.yaml", "job.yaml"]
    assert OBJECTS.keys() >= PATCHES.keys()
    text = (FOLDER / "README.md").read_text("utf-8")
    assert [name for name in OBJECTS if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", WORKLOADS)
class TestRestricted:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted."""

    def test_pod(self, name: str) -> None:
        spec = pod(name)
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] != 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "sysctls" not in context
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        allowed = ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "projected")
        assert kinds <= {*allowed, "persistentVolumeClaim", "secret"}

    def test_containers(self, name: str) -> None:
        for container in containers(name):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert not context.get("privileged")
            assert context.get("runAsUser", 1) != 0
            assert context.get("seccompProfile", {"type": "RuntimeDefault"}) == {
                "type": "RuntimeDefault"
            }
            assert not any("hostPort" in port for port in container.get("ports", []))

    def test_more_than_it_demands(self, name: str) -> None:
        assert pod(name)["automountServiceAccountToken"] is False
        for container in containers(name):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert "memory" in container["resources"]["limits"]

    def test_a_secret_can_be_read_by_the_group_and_nobody_else(self, name: str) -> None:
        group = pod(name)["securityContext"]["fsGroup"]
        assert group == pod(name)["securityContext"]["runAsGroup"] == 65532
        assert [volume["secret"]["defaultMode"] for volume in pod(name)["volumes"]] == [0o440]


@pytest.mark.parametrize("name", JOBS)
def test_what_would_fail_again_is_not_tried_again(name: str) -> None:
    spec = OBJECTS[name]["spec"]
    final, disruption = spec["podFailurePolicy"]["rules"]
    assert final["action"] == ("FailIndex" if spec.get("completionMode") else "FailJob")
    assert final["onExitCodes"] == {
        "containerName": pod(name)["containers"][0]["name"],
        "operator": "In",
        "values": [errors.FAILED, errors.USAGE, errors.DISAGREEMENT],
    }
    assert disruption["action"] == "Ignore"
    # A policy needs this (https://kubernetes.io/docs/concepts/workloads/controllers/job/).
    assert pod(name)["restartPolicy"] == "Never"


@pytest.mark.parametrize("name", JOBS)
def test_a_job_ends(name: str) -> None:
    spec = OBJECTS[name]["spec"]
    lock_wait = 600
    assert spec["activeDeadlineSeconds"] > 2 * lock_wait
    assert spec["ttlSecondsAfterFinished"] >= 3600
    assert 0 < spec.get("backoffLimit", spec.get("backoffLimitPerIndex")) < 10


def test_a_setting_without_a_default_is_set_or_left_out_for_a_reason() -> None:
    """The other settings keep their defaults; whoever copies the manifests adds what differs."""
    without_default = {variable.name for variable in VARIABLES if not variable.default}
    given = {
        entry["name"]
        for name in WORKLOADS
        for container in containers(name)
        for entry in container["env"]
    }
    assert without_default <= given | LEFT_OUT.keys()
    assert without_default - given >= LEFT_OUT.keys()


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_environment_is_the_migrator_s(name: str) -> None:
    known = {variable.name for variable in VARIABLES} | {"INDEX"}
    for container in containers(name):
        given = {entry["name"]: entry for entry in container["env"]}
        assert given.keys() <= known
        # No password in the open, and each file where a secret is mounted.
        url = given.get("DATABASE_URL", {}).get("value", "")
        assert not re.search("://[^@]*:[^@]*@", url)
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        files = [entry["value"] for name, entry in given.items() if name.endswith("_FILE")]
        assert [str(Path(file).parent) for file in files] == mounts


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_log_is_for_a_collector_and_says_so(name: str) -> None:
    [ours] = [container for container in containers(name) if "migrator" in container["image"]]
    assert {"name": "MIGRATOR_LOG_FORMAT", "value": "json"} in ours["env"]


def test_an_index_finds_its_database() -> None:
    index, url, *_ = pod("indexed-job.yaml")["containers"][0]["env"]
    assert index["name"] == "INDEX"
    assert "job-completion-index" in index["valueFrom"]["fieldRef"]["fieldPath"]
    # Only what stands above can be referred to.
    assert url["value"].endswith("/$(INDEX)")


@pytest.mark.parametrize("name", PATCHES)
def test_a_hook_only_adds_annotations_to_the_job(name: str) -> None:
    job, patch = OBJECTS["job.yaml"], OBJECTS[name]
    annotations = patch["metadata"]["annotations"]
    assert all(key.startswith(PATCHES[name]) for key in annotations)
    assert all(isinstance(value, str) for value in annotations.values())
    assert patch == {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        "metadata": {"name": job["metadata"]["name"], "annotations": annotations},
    }
