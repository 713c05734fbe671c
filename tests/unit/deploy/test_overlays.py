"""scripts/remember-overlays.sh: what it writes into .env, and what it refuses."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts/remember-overlays.sh"
SECRETS = "# kept\nSECRET_KEY=s=1\nOVERLAYS_OF_MINE=x\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts")
    for name in ("a.yml", "b.yml"):
        (tmp_path / name).touch()
    (tmp_path / ".env").write_text(SECRETS)
    (tmp_path / ".env").chmod(0o640)
    return tmp_path


def remember(folder: Path, *files: str) -> tuple[int, str]:
    done = subprocess.run(
        [folder / "scripts/remember-overlays.sh", *files],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_the_last_choice_is_in_the_file_and_everything_else_stays(folder: Path) -> None:
    env = folder / ".env"
    said = ".env: OVERLAY=a.yml OVERLAY_2=b.yml, for every command from now on\n"
    assert remember(folder, "a.yml", "b.yml") == (0, said)
    assert env.read_text() == f"{SECRETS}OVERLAY=a.yml\nOVERLAY_2=b.yml\n"
    assert stat.S_IMODE(env.stat().st_mode) == 0o640
    before = env.stat()
    assert remember(folder, "a.yml", "b.yml") == (0, "")
    assert env.stat() == before
    assert remember(folder, str(folder / "b.yml"))[0] == 0
    assert env.read_text() == f"{SECRETS}OVERLAY={folder}/b.yml\n"
    assert remember(folder) == (0, ".env: no overlays any more\n")
    assert env.read_text() == SECRETS
    assert sorted(path.name for path in folder.iterdir()) == [".env", "a.yml", "b.yml", "scripts"]


def test_a_file_without_a_line_break_at_its_end_and_a_link(folder: Path) -> None:
    (folder / "real").write_text("SECRET_KEY=s")
    (folder / ".env").unlink()
    (folder / ".env").symlink_to("real")
    assert remember(folder, "a.yml")[0] == 0
    assert (folder / ".env").is_symlink()
    assert (folder / "real").read_text() == "SECRET_KEY=s\nOVERLAY=a.yml\n"


def test_without_a_file_one_is_made_that_only_we_may_read(folder: Path) -> None:
    (folder / ".env").unlink()
    assert remember(folder) == (0, "")
    assert not (folder / ".env").exists()
    assert remember(folder, "a.yml")[0] == 0
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["none.yml"], "there is no file none.yml that can be read"),
        (["a.yml"] * 5, "5 overlays, but at most 4 can be remembered"),
        (["a$b.yml"], "another character than A-Z, a-z, 0-9 and . _ / + - in it: a$b.yml"),
    ],
)
def test_what_cannot_be_meant_is_refused(folder: Path, files: list[str], message: str) -> None:
    status, said = remember(folder, *files)
    assert (status, message in said) == (2, True)
    assert (folder / ".env").read_text() == SECRETS
