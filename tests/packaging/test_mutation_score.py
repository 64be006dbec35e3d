"""`make mutate` fails when a package of protocols/ keeps too many surviving mutants."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.documents import ROOT

SCORE = ROOT / ".ci/mutation-score"


def results(package: str, **counts: int) -> str:
    """What `mutmut results --all true` prints for mutants of one package of protocols/."""
    return "".join(
        f"    kamstrup_mqtt.protocols.{package}.module.x_function__mutmut_{number}: {outcome}\n"
        for outcome, count in counts.items()
        for number in range(count)
    )


def score(printed: str, least: int = 90) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCORE), str(least)],
        input=printed,
        capture_output=True,
        text=True,
        check=False,
    )


def test_enough_killed_mutants_pass() -> None:
    done = score(results("han", killed=8, timeout=1, survived=1) + results("fast_path", killed=3))
    assert done.returncode == 0, done.stdout
    assert "fast_path" in done.stdout


@pytest.mark.parametrize("package", ["han", "fast_path"])
def test_a_surviving_mutant_too_many_fails_and_names_the_package(package: str) -> None:
    done = score(results("kmp", killed=50) + results(package, killed=8, survived=1))
    assert done.returncode == 1
    assert f"less than 90 %: {package}" in done.stdout


def test_a_mutant_that_no_test_ran_counts_as_survivor() -> None:
    text = results("kmp", killed=8).splitlines(keepends=True)
    text.append("    kamstrup_mqtt.protocols.kmp.module.x_other__mutmut_1: no tests\n")
    assert score("".join(text)).returncode == 1


def test_no_mutants_at_all_fails() -> None:
    done = score("no results\n")
    assert done.returncode == 1
    assert "no mutants" in done.stdout
