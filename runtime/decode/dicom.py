"""A DICOM Part 10 file as an image. Runs in decode workers only.

Order of work, cheapest first: file structure, dimensions, policy, pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode import display
from spinert.runtime.decode.acceptance import refuse_unaccepted
from spinert.runtime.decode.attributes import text
from spinert.runtime.decode.codecs import words_from_codestream
from spinert.runtime.decode.codestream import codestream_from_fragments
from spinert.runtime.decode.dicom_file import DicomFile, dicom_file
from spinert.runtime.decode.gate import refuse_wrong_length
from spinert.runtime.decode.scan import UNDEFINED
from spinert.runtime.decode.stored import stored_from_words
from spinert.runtime.decode.transfer_syntax import Codec
from spinert.runtime.errors import (
    FrameTooCostly,
    MalformedFrame,
    Reason,
    SpinertError,
)
from spinert.runtime.frame import Buffer
from spinert.runtime.image import Image, Photometric

__all__ = ["image_from_dicom", "image_from_file"]


def image_from_dicom(data: Buffer, settings: DecodeSettings) -> Image:
    """Decode one DICOM file within the limits and the policy of `settings`.

    The image may share `data`, which must not change while the image lives.

    Raises:
        FrameRefused: With the reason; nothing else leaves this function.
    """
    with _typed_errors():
        file = dicom_file(data, settings)
        refuse_unaccepted(file.dataset, settings)
        return image_from_file(file)


@contextmanager
def _typed_errors() -> Iterator[None]:
    """Turn whatever a library raises on damaged input into a refusal."""
    try:
        with warnings.catch_warnings():
            # pydicom warns of every oddity, quoting values that may name a patient.
            warnings.simplefilter("ignore")
            yield
    except SpinertError:
        raise
    except MemoryError:
        raise FrameTooCostly(
            Reason.DECODE_MEMORY,
            "decoding this file takes more memory than one frame may use "
            "(decode.memory_mib)",
        ) from None
    except Exception:
        raise MalformedFrame(
            Reason.MALFORMED_DICOM,
            "the DICOM file is damaged or breaks the standard; export it again",
        ) from None


def image_from_file(file: DicomFile) -> Image:
    """Decode the pixels of a grey, single-frame file, whatever its modality.

    Raises:
        FrameRefused: The pixels do not fit what the attributes say.
    """
    layout, dataset = file.layout, file.dataset
    is_encapsulated = file.pixels.length == UNDEFINED
    if is_encapsulated == (file.syntax.codec is Codec.NATIVE):
        raise MalformedFrame(
            Reason.MALFORMED_DICOM,
            "the pixel data do not have the form of their transfer syntax",
        )
    if is_encapsulated:
        stream = codestream_from_fragments(file.body, file.pixels)
        words = words_from_codestream(stream, file.syntax.codec, layout)
    else:
        words = _native_words(file)
    size = display.spacing(dataset)
    return Image(
        pixels=stored_from_words(
            words, bits_stored=layout.bits_stored, is_signed=layout.is_signed
        ),
        bits_stored=layout.bits_stored,
        photometric=Photometric(text(dataset, "PhotometricInterpretation")),
        modality=file.modality_lut or display.rescale(dataset),
        voi_lut=file.voi_lut,
        window=display.window(dataset),
        spacing=size,
        study_uid=display.study_uid(dataset),
        notes=display.notes(dataset, size, file.syntax.loss),
    )


def _native_words(file: DicomFile) -> npt.NDArray[Any]:
    """View uncompressed pixels as words in native byte order, copied if they are not.

    PS3.5 section 8.1.1 and, for 8-bit pixels in big endian words, section 7.3.
    """
    layout, start = file.layout, file.pixels.start
    data: Buffer = file.body[start : start + layout.n_bytes]
    missing = layout.n_bytes - len(data)
    if file.inflater and missing > 0:
        data = bytes(data) + file.inflater.read(missing)
    refuse_wrong_length(file.pixels.length, len(data), layout)
    is_little = file.syntax.encoding.is_little_endian
    if layout.bits_allocated == 16:
        words = np.frombuffer(data, "<u2" if is_little else ">u2")
        words = words.astype(np.uint16, copy=False)
    elif file.pixels.vr == b"OW" and not is_little and len(data) % 2 == 0:
        words = np.frombuffer(data, np.uint16).byteswap().view(np.uint8)
    else:
        words = np.frombuffer(data, np.uint8)
    # An odd offset in the file: machine code may rely on alignment.
    words = words if words.flags.aligned else words.copy()
    return words.reshape(layout.rows, layout.columns)
