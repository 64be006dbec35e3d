"""Encrypted lists: general-glo-ciphering with AES-128-GCM.

    DB | 08 <system title(8)> | length | SC(1) | frame counter(4) | ciphertext | tag(12)

    length   of SC to tag; 82 hh ll even below 256, but 81 and one byte are accepted too
    SC       30 = encrypted, with a tag; 20 = encrypted, without; the low digit is the suite
    nonce    system title, frame counter
    AAD      SC, authentication key

The encryption key is what Kamstrup calls GPK60 (object 64), the authentication key GPK61 (object
65). The plaintext is the whole data-notification. A wrong key causes no framing error: only the
tag shows it, or if there is none, the list. Source: OMNIPOWER HAN interface specification
5512-2584 B1; DLMS UA Green Book, general-glo-ciphering; NIST SP 800-38D.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Final, NamedTuple

from kamstrup_mqtt.core.errors import ConfigError, MeterError, ReplayError
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.protocols.han import axdr

GENERAL_GLO_CIPHERING: Final = 0xDB
KEY_SIZE: Final = 16
RESTART_AFTER: Final = 3
"""Frames in a row with rising counters after which a lower counter is accepted."""

_TITLE_SIZE = 8
_TAG_SIZE = 12
_AUTHENTICATED = 0x10
_ENCRYPTED = 0x20
_COMPRESSED = 0x80
_NOT_HERE = (
    "the lists are encrypted, and the package that decrypts them is not installed:"
    " pip install 'kamstrup-mqtt[encryption]'"
)


class Envelope(NamedTuple):
    """The parts of an encrypted message. `tag` is empty if the message has none."""

    system_title: bytes
    security: int
    counter: int
    ciphertext: bytes
    tag: bytes

    @property
    def nonce(self) -> bytes:
        return self.system_title + self.counter.to_bytes(4, "big")


def unwrap(apdu: bytes) -> Envelope:
    """Decode a general-glo-ciphering message. Raises MeterError if it is damaged."""
    start = 2 + _TITLE_SIZE
    try:
        if apdu[1:2] != bytes([_TITLE_SIZE]):
            raise axdr.AxdrError("the system title is not 8 bytes long")
        length, at = axdr.read_length(apdu, start)
        if length != len(apdu) - at:
            raise axdr.AxdrError(f"{length} bytes announced, {len(apdu) - at} there")
        security = apdu[at] if length >= 5 else 0
        size = _TAG_SIZE if security & _AUTHENTICATED else 0
        if length <= 5 + size:
            raise axdr.AxdrError(f"{length} bytes are too few")
        if not security & _ENCRYPTED or security & _COMPRESSED:
            raise axdr.AxdrError(f"security control {security:02X} is not one that is known")
    except axdr.AxdrError as error:
        raise MeterError(
            LinkState.BYTES_NO_FRAMES, f"the encrypted message cannot be read: {error}"
        ) from error
    end = len(apdu) - size
    return Envelope(
        apdu[2:start],
        security,
        int.from_bytes(apdu[at + 1 : at + 5], "big"),
        apdu[at + 5 : end],
        apdu[end:],
    )


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """The two keys of a meter, None if a key is not known.

    Raises ConfigError if a key has a wrong length, or if the package that decrypts is missing.
    """

    encryption: bytes | None = None
    authentication: bytes | None = None

    def __post_init__(self) -> None:
        for name, key in (("encryption", self.encryption), ("authentication", self.authentication)):
            if key is not None and len(key) != KEY_SIZE:
                raise ConfigError(f"the {name} key has {len(key)} bytes; it must have {KEY_SIZE}")
        if self.encryption is not None and importlib.util.find_spec("cryptography") is None:
            raise ConfigError(_NOT_HERE)

    def open(self, envelope: Envelope) -> bytes:
        """Decrypt a message and verify its tag, if it has one. Raises MeterError."""
        if self.encryption is None:
            raise _missing(
                "encryption_key",
                "GPK60; with it comes GPK61, the authentication_key" if envelope.tag else "GPK60",
            )
        if not envelope.tag:
            return _decrypt_untagged(self.encryption, envelope)
        if self.authentication is None:
            raise _missing("authentication_key", "GPK61")
        plain = _decrypt(self.encryption, self.authentication, envelope)
        if plain is None:
            swapped = _decrypt(self.authentication, self.encryption, envelope) is not None
            raise wrong_key(
                "encryption_key and authentication_key are swapped"
                if swapped
                else "the tag of the list does not fit"
            )
        return plain


def _missing(option: str, name: str) -> MeterError:
    return MeterError(
        LinkState.WRONG_KEY,
        f"the list is encrypted and there is no key: set `{option}` ({name}); the grid company"
        " gives the keys to the meter's owner",
    )


def wrong_key(why: str) -> MeterError:
    """Return the error for a list that the keys do not decrypt."""
    return MeterError(
        LinkState.WRONG_KEY,
        f"the list is encrypted with another key: {why}; encryption_key is GPK60,"
        " authentication_key GPK61 (GPK11 is for something else); a reset of the HAN port makes"
        " the grid company's old keys invalid",
    )


def _decrypt(encryption: bytes, authentication: bytes, envelope: Envelope) -> bytes | None:
    """Return the plaintext. None if the tag is wrong."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    mode = modes.GCM(envelope.nonce, envelope.tag, min_tag_length=_TAG_SIZE)
    decryptor = Cipher(algorithms.AES(encryption), mode).decryptor()
    decryptor.authenticate_additional_data(bytes([envelope.security]) + authentication)
    plain = decryptor.update(envelope.ciphertext)
    try:
        return plain + decryptor.finalize()
    except InvalidTag:
        return None


def _decrypt_untagged(encryption: bytes, envelope: Envelope) -> bytes:
    """Return the plaintext. GCM without a tag is counter mode, starting at 2."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    mode = modes.CTR(envelope.nonce + (2).to_bytes(4, "big"))
    decryptor = Cipher(algorithms.AES(encryption), mode).decryptor()
    return decryptor.update(envelope.ciphertext) + decryptor.finalize()


def seal(
    plain: bytes,
    system_title: bytes,
    counter: int,
    keys: Keys,
    security: int = _AUTHENTICATED | _ENCRYPTED,
) -> bytes:
    """Encrypt a data-notification as a meter does (for emulated meters)."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    assert keys.encryption is not None, "an emulated meter has its keys"
    nonce = system_title + counter.to_bytes(4, "big")
    encryptor = Cipher(algorithms.AES(keys.encryption), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(bytes([security]) + (keys.authentication or b""))
    sealed = encryptor.update(plain) + encryptor.finalize()
    tag = encryptor.tag[:_TAG_SIZE] if security & _AUTHENTICATED else b""
    content = bytes([security]) + nonce[_TITLE_SIZE:] + sealed + tag
    head = bytes([GENERAL_GLO_CIPHERING, _TITLE_SIZE]) + system_title
    return head + b"\x82" + len(content).to_bytes(2, "big") + content


class CounterGuard:
    """Rejects replayed frames, whose counter does not rise.

    Three lower counters in a row that rise among themselves mean that the meter was reset.
    """

    def __init__(self) -> None:
        self._last: dict[bytes, int] = {}
        self._lower: list[int] = []

    def check(self, title: bytes, counter: int) -> str | None:
        """Check the frame counter of a decrypted list.

        Returns a warning if the counter restarted, else None. Raises ReplayError if the list must
        not be used.
        """
        last = self._last.get(title)
        if last is None or counter > last:
            self._last = {title: counter}  # a line has one meter: forget all others
            self._lower.clear()
            return None
        if self._lower and counter <= self._lower[-1]:
            self._lower.clear()
        self._lower.append(counter)
        if len(self._lower) < RESTART_AFTER:
            raise ReplayError(
                LinkState.OK, f"a list with frame counter {counter} came after {last}: dropped"
            )
        self._lower.clear()
        self._last[title] = counter
        return (
            f"the meter's frame counter restarted at {counter} (it was {last}): the meter was"
            " reset, or its keys were changed"
        )
