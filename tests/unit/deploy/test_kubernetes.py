"""deploy/kubernetes: the restricted profile, our exit statuses, our settings, the hooks.

`make check` compares the files with the API's schemas; this is what schemas do not know.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from migrator.process import errors
from migrator.process.settings import VARIABLES
from tests.support import kubernetes
from tests.support.kubernetes import FOLDER, patched

HOOKS = {"helm-hook.yaml": "helm.sh/", "argocd-presync.yaml": "argocd.argoproj.io/"}
PATCHES = ("canary.yaml", "cloud-sql-proxy.yaml")
# A patch of job.yaml stands for the Job that comes of it.
OBJECTS = kubernetes.OBJECTS | {patch: patched("job.yaml", patch) for patch in PATCHES}
WORKLOADS = sorted(OBJECTS.keys() - HOOKS)
JOBS = [name for name in WORKLOADS if OBJECTS[name]["kind"] == "Job"]

TIMES = "\N{MULTIPLICATION SIGN}"

LEFT_OUT = {
    "DATABASE_URL_FILE": "the addresses in the manifests have no passwords",
    "MIGRATOR_ROLE": "the login of the manifests owns what it makes",
    "MIGRATOR_SCHEMA": "the manifests are of databases with one schema",
    "MIGRATOR_SET": "the manifests have no values for files",
    "MIGRATOR_TARGETS_QUERY": "the manifests have a list; a comment says how to ask for it",
    "MIGRATOR_ONE_TARGET": "canary.yaml names it in the arguments",
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
    jobs = ["backfill.yaml", "deployment.yaml", "indexed-job.yaml", "job.yaml"]
    assert sorted(WORKLOADS) == sorted([*jobs, *PATCHES])
    assert OBJECTS.keys() >= HOOKS.keys()
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
        assert {volume["secret"]["defaultMode"] for volume in pod(name)["volumes"]} == {0o440}


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
        for entry in container.get("env", [])
    }
    assert without_default <= given | LEFT_OUT.keys()
    assert without_default - given >= LEFT_OUT.keys()


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_environment_is_the_migrator_s(name: str) -> None:
    known = {variable.name for variable in VARIABLES}
    for container in containers(name):
        given = {entry["name"]: entry for entry in container.get("env", [])}
        assert given.keys() <= known
        # No password in the open, and each file where a secret is mounted.
        url = given.get("DATABASE_URL", {}).get("value", "")
        assert not re.search("://[^@]*:[^@]*@", url)
        mounts = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        files = [
            entry["value"]
            for name, entry in given.items()
            if name.endswith("_FILE") or name == "MIGRATOR_TARGETS"
        ]
        assert [str(Path(file).parent) for file in files] == mounts


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_log_is_for_a_collector_and_says_so(name: str) -> None:
    [ours] = [container for container in containers(name) if "migrator" in container["image"]]
    assert {"name": "MIGRATOR_LOG_FORMAT", "value": "json"} in ours["env"]


class TestIndexedJob:
    JOB = OBJECTS["indexed-job.yaml"]
    ENVIRONMENT = kubernetes.environment(JOB)

    def test_there_is_a_pod_for_each_part_and_kubernetes_says_which(self) -> None:
        """JOB_COMPLETION_INDEX is set in the pods of an Indexed Job, and not in the manifest."""
        spec = self.JOB["spec"]
        assert spec["completionMode"] == "Indexed"
        assert self.ENVIRONMENT["MIGRATOR_SHARD"] == str(spec["completions"])
        assert spec["parallelism"] <= spec["completions"]
        assert "JOB_COMPLETION_INDEX" not in self.ENVIRONMENT

    def test_no_pod_ends_the_others(self) -> None:
        assert "maxFailedIndexes" not in self.JOB["spec"]
        assert "backoffLimit" not in self.JOB["spec"]

    def test_the_canary_reads_the_same_list(self) -> None:
        canary = OBJECTS["canary.yaml"]
        assert kubernetes.arguments(canary)[:2] == ["apply", "--target"]
        same = kubernetes.environment(canary)
        assert same == {name: self.ENVIRONMENT[name] for name in same}
        assert pod("canary.yaml")["volumes"] == pod("indexed-job.yaml")["volumes"]

    def test_the_arithmetic_is_that_of_the_manifest(self) -> None:
        text = (FOLDER / "README.md").read_text("utf-8")
        parts, at_once = self.JOB["spec"]["completions"], self.JOB["spec"]["parallelism"]
        jobs, failures = (
            int(self.ENVIRONMENT[f"MIGRATOR_{name}"]) for name in ("JOBS", "MAX_FAILURES")
        )
        assert f"| {at_once} {TIMES} {jobs} = {at_once * jobs} |" in text
        assert f"second one | {2 * at_once * jobs} |" in text
        most = parts * (failures + jobs - 1)
        assert f"| {parts} {TIMES} ({failures} + {jobs} - 1) = {most} |" in text
        manifest = (FOLDER / "indexed-job.yaml").read_text("utf-8")
        assert f"up to {2 * at_once * jobs} connections" in manifest
        assert failures + jobs - 1 == 6
        assert "at most six targets of each pod" in manifest.replace("\n            # ", " ")

    def test_a_list_of_the_size_that_is_named_fits_into_a_secret(self) -> None:
        """https://kubernetes.io/docs/concepts/configuration/secret/: at most 1 MiB."""
        text = (FOLDER / "README.md").read_text("utf-8")
        [line] = re.findall("lines such as `(.*)`", text)
        assert 30_000 < (1 << 20) / len(f"{line}\n") < 35_000


class TestSidecar:
    """https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/."""

    def test_the_proxy_does_not_keep_the_job_from_completing(self) -> None:
        [proxy] = pod("cloud-sql-proxy.yaml")["initContainers"]
        assert proxy["restartPolicy"] == "Always"
        assert [one["name"] for one in pod("cloud-sql-proxy.yaml")["containers"]] == ["migrator"]

    def test_the_migrator_starts_when_the_proxy_answers_and_connects_to_it(self) -> None:
        [proxy] = pod("cloud-sql-proxy.yaml")["initContainers"]
        assert proxy["startupProbe"]["httpGet"] == {"path": "/startup", "port": 9090}
        assert {"--health-check", "--http-address=0.0.0.0", "--port=5432"} <= set(proxy["args"])
        url = kubernetes.environment(OBJECTS["cloud-sql-proxy.yaml"])["DATABASE_URL"]
        assert "@127.0.0.1:5432/" in url

    def test_nothing_else_of_the_job_is_changed(self) -> None:
        job, patch = OBJECTS["job.yaml"], OBJECTS["cloud-sql-proxy.yaml"]
        for key in job["spec"].keys() - {"template"}:
            assert patch["spec"][key] == job["spec"][key]
        one, other = pod("job.yaml"), pod("cloud-sql-proxy.yaml")
        assert other.keys() - one.keys() == {"serviceAccountName", "initContainers"}
        [before], [after] = one["containers"], other["containers"]
        assert after | {"env": before["env"]} == before


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_only_adds_annotations_to_the_job(name: str) -> None:
    job, patch = OBJECTS["job.yaml"], OBJECTS[name]
    annotations = patch["metadata"]["annotations"]
    assert all(key.startswith(HOOKS[name]) for key in annotations)
    assert all(isinstance(value, str) for value in annotations.values())
    assert patch == {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        "metadata": {"name": job["metadata"]["name"], "annotations": annotations},
    }
