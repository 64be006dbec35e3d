"""Texts and problems of info codes: MULTICAL 602 manual p. 49, 403 manual p. 92, HC-003 p. 11."""

from __future__ import annotations

import pytest

from kamstrup_mqtt.meters.info_codes import PROBLEMS, TABLES


@pytest.mark.parametrize(
    ("table", "code", "text"),
    [
        ("sum_602", 0, "ok"),
        ("sum_602", 64, "leak in cold water"),
        ("sum_602", 256 + 16384, "leak in heating; V1 wrong direction"),
        ("sum_602", 4 + 8 + 32, "t2 out of range; t1 out of range; t3 out of range"),
        ("sum_602", 2, "bit 1"),
        ("sum_602", 1 << 20, "bit 20"),
        ("sum_403", 2 + 128, "low battery or external alarm; t1-t2 invalid, wrong polarity"),
        ("sum_403", 1024, "bit 10"),
        ("bits_369", 1 << 31, "leak, penetration"),
        ("bits_369", (1 << 1) + (1 << 26), "low battery; bit 26"),
        (
            "multical_iii",
            128 + 4,
            "return probe out of range for more than 1 h; battery due (8 years)",
        ),
        ("flowiq", 4 + 8, "leak; burst"),
        ("digits_603", 0, "ok"),
        ("digits_603", 20000000, "low battery"),
        ("digits_603", 91200000, "external alarm; t1 above range; t2 below range"),
        ("digits_603", 10, "input A: 1"),
        ("digits_603", 3050, "V1: 3; input A: 5"),
        ("digits_603", 123456789, "code 123456789"),
    ],
)
def test_texts(table: str, code: int, text: str) -> None:
    assert TABLES[table].text(code) == text


@pytest.mark.parametrize(
    ("problem", "bits"),
    [
        ("leak", [64, 256]),
        ("burst", [512]),
        ("air", [4096, 8192]),
        ("reversed_flow", [16384, 32768]),
        ("probe", [4, 8, 32]),
        ("flow_sensor", [16, 128, 1024, 2048]),
        ("supply", [1]),
    ],
)
def test_problems_of_a_602(problem: str, bits: list[int]) -> None:
    table = TABLES["sum_602"]
    for bit in (1 << n for n in range(20)):
        assert table.has_problem(bit, problem) is (bit in bits)


def test_only_confirmed_tables_have_problems() -> None:
    for name, table in TABLES.items():
        assert table.is_confirmed is (name in ("sum_602", "multical_iii"))
        assert bool(table.problems) is table.is_confirmed
        assert set(table.problems) <= set(PROBLEMS)
