"""What the tests on a real Docker engine share."""

import os
import subprocess

import pytest

# testcontainers reads these when a test module imports it. Its reaper is one more image, which is
# not there without a registry; the tests remove what they start themselves.
os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
# A container that starts is looked at every 0.1 s for 120 s: the deadline is the product.
os.environ["TC_POOLING_INTERVAL"] = "0.1"
os.environ["TC_MAX_TRIES"] = "1200"


@pytest.fixture(scope="session")
def docker_engine() -> str:
    """Give the engine's version; when no engine answers, fail in CI and skip elsewhere."""
    try:
        answer = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        problem = answer.stderr.strip() if answer.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        message = f"no Docker engine answers, tests/images/prepare starts one: {problem}"
        if os.environ.get("CI") == "true":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return answer.stdout.strip()
