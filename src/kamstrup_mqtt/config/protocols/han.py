"""Options of meters that push lists on a HAN port."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    SecretStr,
    model_validator,
)

from kamstrup_mqtt.config.meter import Meter, parity_letter
from kamstrup_mqtt.config.section import (
    Text,
    validation_error,
)
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.meters.auto import AUTO
from kamstrup_mqtt.meters.detection import detect_list_model

KEY_SIZE = 16
"""Bytes of an encryption or authentication key."""


def _han_parity(value: Any) -> Any:
    return "auto" if isinstance(value, str) and value.lower() == "auto" else parity_letter(value)


def _energy_scale(value: Any) -> Any:
    return int(value) if value in ("10", "1") else value


def _key(value: Any) -> Any:
    """Validate a key of 16 bytes, written in hex with or without spaces."""
    if isinstance(value, SecretStr):
        return value
    text = value.strip() if isinstance(value, str) else ""
    try:
        octets = bytes.fromhex(text)
    except ValueError:
        octets = b""
    if len(octets) != KEY_SIZE:
        raise ValueError(
            f"must be {2 * KEY_SIZE} hex digits in quotes, as given by the grid company"
        )
    return SecretStr(octets.hex())


Key = Annotated[SecretStr, BeforeValidator(_key)]


class HanMeter(Meter):
    """An electricity meter with a HAN port."""

    is_pushed = True
    protocol_name = "han"
    protocol: Literal["han"]
    model: Text = "auto"
    """The id of the model. `auto` recognises Kamstrup, Aidon and Kaifa by their lists. Also
    spelled `meter`.

    Example: `model: kamstrup_han_3phase`
    """
    energy_scale: Annotated[Literal[10, 1, "auto"], BeforeValidator(_energy_scale)] = "auto"
    """Wh per count of the energies of a Kamstrup meter. `auto`: by the type of the meter, else
    learned from the power.

    Example: `energy_scale: 10`
    """
    encryption_key: Key | None = None
    """GPK60, of a meter that encrypts its lists.

    Example: `encryption_key: "${GPK60}"`
    """
    encryption_key_file: Text | None = None
    """A file with the key on one line. A credential of systemd with this name is preferred.

    Default: the credential `<id>_encryption_key`, if there is one
    Example: `encryption_key_file: gpk60`
    """
    authentication_key: Key | None = None
    """GPK61, of a meter that encrypts its lists.

    Example: `authentication_key: "${GPK61}"`
    """
    authentication_key_file: Text | None = None
    """A file with the key on one line. A credential of systemd with this name is preferred.

    Default: the credential `<id>_authentication_key`, if there is one
    Example: `authentication_key_file: gpk61`
    """
    parity: Annotated[Literal["N", "E", "O", "auto"] | None, BeforeValidator(_han_parity)] = None  # type: ignore[assignment]
    """The parity of the line. `auto` tries without and with even parity until lists arrive.

    Default: `auto` with `model: auto`, else by model
    Example: `parity: none`
    """

    @model_validator(mode="before")
    @classmethod
    def _meter_is_model(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or "meter" not in raw:
            return raw
        if "model" in raw:
            raise validation_error([(("meter",), "means the same as model; remove one")])
        return {"model" if k == "meter" else k: v for k, v in raw.items()}

    @property
    def detects_parity(self) -> bool:
        if self.parity is None:
            return self.model == AUTO
        return self.parity == "auto"

    def _with_overrides(self, params: SerialParams) -> SerialParams:
        plain = self if self.parity != "auto" else self.model_copy(update={"parity": None})
        return super(HanMeter, plain)._with_overrides(params)

    def secrets(self) -> tuple[str, ...]:
        held = (self.encryption_key, self.authentication_key)
        digits = [key.get_secret_value() for key in held if key is not None]
        return (*digits, *(text.upper() for text in digits))

    def codec_options(self) -> dict[str, Any]:
        encryption, authentication = self.encryption_key, self.authentication_key
        return {
            "energy_scale": None if self.energy_scale == "auto" else self.energy_scale,
            "encryption_key": encryption and bytes.fromhex(encryption.get_secret_value()),
            "authentication_key": authentication
            and bytes.fromhex(authentication.get_secret_value()),
            "detect_model": detect_list_model,
        }

    @property
    def _accepts_unlisted(self) -> bool:
        return True


METER = HanMeter
