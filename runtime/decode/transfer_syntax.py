"""The transfer syntaxes that can be read, PS3.5 annex A. One line adds another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto, unique
from types import MappingProxyType

from spinert.runtime.decode.scan import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Encoding,
)

__all__ = ["TRANSFER_SYNTAXES", "Codec", "Loss", "TransferSyntax"]


@unique
class Codec(Enum):
    """How pixels are written."""

    NATIVE = auto()
    RLE = auto()
    JPEG = auto()
    JPEG_LS = auto()
    JPEG_2000 = auto()
    HTJ2K = auto()


@unique
class Loss(Enum):
    """Whether decoded pixels can differ from those of the detector."""

    NEVER = auto()
    POSSIBLE = auto()
    ALWAYS = auto()


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferSyntax:
    """What one Transfer Syntax UID stands for."""

    codec: Codec
    encoding: Encoding = EXPLICIT_LITTLE
    is_deflated: bool = False
    loss: Loss = Loss.NEVER


TRANSFER_SYNTAXES: Mapping[str, TransferSyntax] = MappingProxyType(
    {
        "1.2.840.10008.1.2": TransferSyntax(
            codec=Codec.NATIVE, encoding=IMPLICIT_LITTLE
        ),
        "1.2.840.10008.1.2.1": TransferSyntax(codec=Codec.NATIVE),
        "1.2.840.10008.1.2.1.99": TransferSyntax(codec=Codec.NATIVE, is_deflated=True),
        "1.2.840.10008.1.2.2": TransferSyntax(
            codec=Codec.NATIVE, encoding=EXPLICIT_BIG
        ),
        "1.2.840.10008.1.2.5": TransferSyntax(codec=Codec.RLE),
        "1.2.840.10008.1.2.4.50": TransferSyntax(codec=Codec.JPEG, loss=Loss.ALWAYS),
        "1.2.840.10008.1.2.4.51": TransferSyntax(codec=Codec.JPEG, loss=Loss.ALWAYS),
        "1.2.840.10008.1.2.4.57": TransferSyntax(codec=Codec.JPEG),
        "1.2.840.10008.1.2.4.70": TransferSyntax(codec=Codec.JPEG),
        "1.2.840.10008.1.2.4.80": TransferSyntax(codec=Codec.JPEG_LS),
        "1.2.840.10008.1.2.4.81": TransferSyntax(
            codec=Codec.JPEG_LS, loss=Loss.POSSIBLE
        ),
        "1.2.840.10008.1.2.4.90": TransferSyntax(codec=Codec.JPEG_2000),
        "1.2.840.10008.1.2.4.91": TransferSyntax(
            codec=Codec.JPEG_2000, loss=Loss.POSSIBLE
        ),
        "1.2.840.10008.1.2.4.201": TransferSyntax(codec=Codec.HTJ2K),
        "1.2.840.10008.1.2.4.202": TransferSyntax(codec=Codec.HTJ2K),
        "1.2.840.10008.1.2.4.203": TransferSyntax(
            codec=Codec.HTJ2K, loss=Loss.POSSIBLE
        ),
    }
)
