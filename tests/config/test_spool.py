"""The `spool` section of the configuration."""

from __future__ import annotations

from typing import Any

import pytest

from kamstrup_mqtt.config import Config, SpoolConfig

HEAT = {"name": "Heat", "protocol": "kmp", "model": "multical_403", "port": "tcp://h:2"}


@pytest.mark.parametrize("mode", ["offline", "always", "memory"])
def test_a_mode_alone_is_accepted(mode: str) -> None:
    config = Config.model_validate({"meters": [HEAT], "spool": mode})
    assert config.spool == SpoolConfig.model_validate({"mode": mode})
    assert (config.spool.rows, config.spool.megabytes, config.spool.resend) == (100_000, 64, 60.0)


def test_the_default_mode() -> None:
    assert Config.model_validate({"meters": [HEAT]}).spool.mode == "offline"


@pytest.mark.parametrize("spool", ["sometimes", {"rows": 5}, {"resend": -1}, {"size": 3}])
def test_invalid_settings_are_rejected(spool: Any) -> None:
    with pytest.raises(ValueError, match="spool"):
        Config.model_validate({"meters": [HEAT], "spool": spool})


def test_false_suggests_the_mode_memory() -> None:
    with pytest.raises(ValueError, match="use the mode memory, which never writes to disk"):
        Config.model_validate({"meters": [HEAT], "spool": False})
