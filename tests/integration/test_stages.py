# SPDX-License-Identifier: Apache-2.0
"""tests/run: its campaigns run side by side; --resume counts what has passed at the very same commit."""
import importlib.machinery
import importlib.util
import os
import subprocess

import ds
import pytest


class Project:
    """A repository with stages of its own, each of which notes that it ran."""

    def __init__(self, folder, monkeypatch):
        self.root = folder / "project"
        self.ran = folder / "ran"
        loader = importlib.machinery.SourceFileLoader("stages_under_test", str(ds.ROOT / "tests/run"))
        self.module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
        monkeypatch.setitem(__import__("sys").modules, loader.name, self.module)
        loader.exec_module(self.module)
        monkeypatch.setattr(self.module, "ROOT", self.root)
        monkeypatch.setattr(self.module, "LOGS", self.root / "build/test-logs")
        self.root.mkdir()
        self.git("init", "-q")
        self.commit("build/\n")

    def git(self, *words):
        identity = {f"GIT_{who}_{what}": "nobody@example.com" for who in ("AUTHOR", "COMMITTER")
                    for what in ("NAME", "EMAIL")}
        subprocess.run(["git", "-C", str(self.root), *words], check=True, env={**os.environ, **identity})

    def commit(self, text):
        (self.root / ".gitignore").write_text(text)
        self.git("add", ".gitignore")
        self.git("commit", "-q", "-m", "x")

    def stage(self, name, line="2 passed, 0 failed", count="plain", **more):
        return self.module.Stage(name, count, f"echo {name} >> {self.ran}; echo '{line}'", **more)

    def run(self, capsys, *stages, resume=True):
        """(exit status, the last line, names of the stages that ran)"""
        self.ran.write_text("")
        status = self.module.run(stages, resume)
        return status, capsys.readouterr().out.splitlines()[-1], self.ran.read_text().split()


@pytest.fixture
def project(tmp_path, monkeypatch):
    return Project(tmp_path, monkeypatch)


def test_what_passed_is_counted_and_not_run_again(project, capsys):
    stages = [project.stage("first"), project.stage("second", "3 passed, 0 failed, 1 skipped", needs=("first",))]
    project.run(capsys, stages[0], resume=False)
    assert project.run(capsys, *stages) == (0, "5 passed, 0 failed, 1 skipped", ["second"])
    assert project.run(capsys, *stages) == (0, "5 passed, 0 failed, 1 skipped", [])


def test_without_resume_all_runs(project, capsys):
    stage = project.stage("first")
    project.run(capsys, stage)
    assert project.run(capsys, stage, resume=False) == (0, "2 passed, 0 failed", ["first"])


def test_what_failed_runs_again_though_it_had_passed_before(project, capsys):
    project.run(capsys, project.stage("first"))
    assert project.run(capsys, project.stage("first", "1 passed, 1 failed"), resume=False)[0] == 1
    assert project.run(capsys, project.stage("first")) == (0, "2 passed, 0 failed", ["first"])


def test_a_build_is_made_again(project, capsys):
    stage = project.stage("build", count="build")
    project.run(capsys, stage)
    assert project.run(capsys, stage)[2] == ["build"]


def test_another_commit_resets(project, capsys):
    stage = project.stage("first")
    project.run(capsys, stage)
    project.commit("build/\nother\n")
    assert project.run(capsys, stage)[2] == ["first"]
    project.git("checkout", "-q", "HEAD~1")
    assert project.run(capsys, stage)[2] == ["first"]


@pytest.mark.parametrize("path", [".gitignore", "new.c"])
def test_a_tree_that_is_not_clean_resets(project, capsys, path):
    stage = project.stage("first")
    project.run(capsys, stage)
    with open(project.root / path, "a") as file:
        file.write("change\n")
    assert project.run(capsys, stage)[2] == ["first"]
    project.git("stash", "-q", "--include-untracked")
    assert project.run(capsys, stage)[2] == ["first"]


def test_a_tree_that_is_changed_meanwhile_counts_as_changed(project, capsys):
    changing = project.module.Stage("first", "plain", f"touch {project.root}/new.c; echo 1 passed, 0 failed")
    project.run(capsys, project.stage("second"))
    assert project.run(capsys, changing, project.stage("second"))[2] == ["second"]
    (project.root / "new.c").unlink()
    assert project.run(capsys, project.stage("first"))[2] == ["first"]


def test_what_passed_with_other_settings_is_run_and_what_else_passed_is_kept(project, capsys, monkeypatch):
    monkeypatch.setenv("FUZZ_SECONDS", "1")
    stages = [project.stage("first"), project.stage("second")]
    project.run(capsys, *stages)
    monkeypatch.setenv("FUZZ_SECONDS", "60")
    assert project.run(capsys, stages[0])[2] == ["first"]
    monkeypatch.setenv("FUZZ_SECONDS", "1")
    assert project.run(capsys, *stages)[2] == ["first"]


def meeting(project, name, other, line="1 passed, 0 failed"):
    """A campaign that waits until the other one is there, too."""
    here = project.root.parent
    return project.module.Stage(
        name, "plain", f"touch {here}/{name}; until [ -e {here}/{other} ]; do sleep 0.01; done; echo '{line}'",
        beside=True, minutes=1)


def test_campaigns_run_side_by_side_after_all_others(project, capsys):
    campaigns = [meeting(project, "left", "right"), meeting(project, "right", "left", "3 passed, 0 failed")]
    late = project.module.Stage("late", "plain", f"[ ! -e {project.root.parent}/left ] && echo 1 passed, 0 failed")
    assert project.run(capsys, *campaigns, late)[:2] == (0, "5 passed, 0 failed")


def test_a_campaign_that_fails_fails_the_run_and_is_shown(project, capsys):
    campaigns = [meeting(project, "left", "right", "0 passed, 1 failed"), meeting(project, "right", "left")]
    assert project.module.run(campaigns) == 1
    shown = capsys.readouterr().out
    assert "--- left failed" in shown and shown.endswith("\n1 passed, 1 failed\n")


def test_a_campaign_whose_need_failed_is_not_run(project, capsys):
    stages = [project.stage("first", "0 passed, 1 failed"), project.stage("second", beside=True, needs=("first",))]
    assert project.run(capsys, *stages) == (1, "0 passed, 2 failed", ["first"])


def test_campaigns_that_passed_are_not_run_again(project, capsys):
    stages = [project.stage("first", beside=True), project.stage("second", beside=True)]
    project.run(capsys, stages[0])
    assert project.run(capsys, *stages) == (0, "4 passed, 0 failed", ["second"])


def test_a_run_that_is_ended_ends_its_campaigns(project, capsys, monkeypatch):
    """Ended by a signal, in the midst of two: neither goes on, and the one that waits does not begin."""
    here = project.root.parent
    campaigns = [project.module.Stage(name, "plain", f"echo $$ >> {here}/pids; exec sleep 600", beside=True)
                 for name in ("first", "second", "third")]

    def interrupted(futures):
        ds.wait_until(lambda: (here / "pids").exists() and len((here / "pids").read_text().split()) == 2,
                      what="two campaigns to run")
        raise KeyboardInterrupt
    monkeypatch.setattr(project.module, "as_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        project.module.run(campaigns)
    pids = (here / "pids").read_text().split()
    assert len(pids) == 2 and not any(os.path.exists(f"/proc/{pid}") for pid in pids)
