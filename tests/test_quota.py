"""Quotas as `quota` and `lfs` tell them, against a study that needs more; commands are stand-ins on the path."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftbench import doctor, quota

USER = """Disk quotas for user me (uid 1000):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
server:/home {used}  {soft}  2000000       0      10       0       0       0
/dev/other      900*      800     900       0      10       0       0       0
"""
LUSTRE = """Disk quotas for usr me (uid 1000):
     Filesystem  kbytes   quota   limit   grace   files   quota   limit   grace
/lustre/a/very/long/name
                [1500000]*  1000000 3000000     -      12       0       0       -
/lustre/free     77       0       0       -      12       0       0       -
"""


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands that stands before all others."""
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def say(file: Path, text: str, condition: str = "true") -> None:
    file.write_text(f"#!/bin/sh\nif {condition}; then cat <<'END'\n{text}END\nfi\nexit 1\n")
    file.chmod(0o755)


def mounts(tmp_path: Path, line: str) -> Path:
    file = tmp_path / "mounts"
    file.write_text(f"/dev/root / ext4 rw 0 0\n{line}\n")
    return file


def test_the_lower_limit_of_this_file_system_counts_and_sizes_are_blocks_of_1024_bytes(
    commands: Path, tmp_path: Path
) -> None:
    say(commands / "quota", USER.format(used=1000, soft=1500000), '[ "$3" = -u ]')
    where = mounts(tmp_path, f"server:/home/me {tmp_path} nfs4 rw 0 0")
    (one,) = quota.quotas(tmp_path, mounts=where)
    assert one == quota.Quota("user", "server:/home", 1.024, 1536.0)
    assert list(quota.quotas(tmp_path, mounts=mounts(tmp_path, "tmpfs /run tmpfs rw 0 0"))) == []  # another file system


def test_lustre_is_asked_for_user_group_and_project(commands: Path, tmp_path: Path) -> None:
    script = """#!/bin/sh
if [ "$1" = project ]; then echo "  1007 P $3"; exit; fi
echo "$@" >> {calls}
cat <<'END'
{text}END
"""
    (commands / "lfs").write_text(script.format(calls=tmp_path / "calls", text=LUSTRE))
    (commands / "lfs").chmod(0o755)
    where = mounts(tmp_path, f"10.0.0.1@tcp:/scratch {tmp_path} lustre rw 0 0")
    found = list(quota.quotas(tmp_path, mounts=where))
    assert [one.of for one in found] == ["user", "group", "project"]
    assert {(one.used_mb, one.limit_mb) for one in found} == {(1536.0, 1024.0)}
    assert f"quota -p 1007 {tmp_path}" in (tmp_path / "calls").read_text()


def test_without_tools_or_answers_there_is_no_quota(commands: Path, tmp_path: Path) -> None:
    assert list(quota.quotas(tmp_path)) == []
    say(commands / "quota", "", "false")
    assert list(quota.quotas(tmp_path)) == []


def test_the_doctor_finds_a_quota_too_small(commands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "mounted", lambda *_: ("server:/home", "/home", "nfs"))
    for used, level in ((1000, "good"), (1400000, "problem")):  # in 1536 MB; 500 are to be left
        say(commands / "quota", USER.format(used=used, soft=1500000), '[ "$3" = -u ]')
        found = [one for one in doctor._disk(None) if one.subject == "quota"]
        assert [one.level for one in found] == [level]
