"""A test without the browser or the Node.js that it needs is skipped here, and fails in CI."""

import os
import subprocess
import sys

import pytest
from helpers import ROOT, missing
from hypothesis import settings

TEST = "tests/pages/test_seeds.py::test_more_runs_are_further_runs"


def test_what_is_missing_is_skipped_here_and_fails_in_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs a thing"):
        missing("needs a thing")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs a thing"):
        missing("needs a thing")


def test_hypothesis_draws_new_examples_in_ci_too():
    assert not settings.default.derandomize  # which it would be by itself


@pytest.mark.parametrize("where", ["here", "in CI"])
def test_without_a_chromium_and_without_node_no_interactive_is_tested(tmp_path, where):
    without = {"PATH": str(tmp_path), "CHROMIUM": "no-such-browser"}
    variables = {k: v for k, v in os.environ.items() if k != "CI"} | without
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rsfE", TEST],
        cwd=ROOT,
        env=variables | ({"CI": "true"} if where == "in CI" else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "needs Node.js" in done.stdout and "needs a Chromium" in done.stdout, done.stdout
    expected = (1, "1 failed, 1 error") if where == "in CI" else (0, "2 skipped")
    assert done.returncode == expected[0] and expected[1] in done.stdout
