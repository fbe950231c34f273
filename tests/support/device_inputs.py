"""A backend over fakes that makes network inputs on its device."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.on_device import DeviceImage, PlacedImage
from spinert.runtime.backends.tensorrt import TensorRtBackend
from spinert.runtime.device import Device
from spinert.runtime.device_input import kernels
from spinert.runtime.device_input.preparing import opened_preparing
from spinert.runtime.device_input.resizing import Resizer
from spinert.runtime.engine.on_device import prepared_on_device
from spinert.runtime.engine.prepare import Prepared, prepared_from_image
from spinert.runtime.image import Image, Photometric
from spinert.runtime.preprocess.canvas import placement
from spinert.runtime.preprocess.grey import table_from_counts
from support.bundles import tiny_spec
from support.fake_device import FakeDevice
from support.fake_engines import FakeApi, fake_flavour
from support.graphs import classifier, detector
from support.tensor_rt import networks

SPEC = tiny_spec()
ROLES = ("classifier", "detector")
STORED = (np.uint8, np.uint16, np.int16)


class PreparingRig:
    """A TensorRT backend on a fake device; engines come from nowhere."""

    def __init__(self, folder: Path, device: FakeDevice, **options: Any) -> None:
        self.device = device
        self.networks = networks()
        api = FakeApi(device, self.networks)
        self.folder = folder
        self.backend = TensorRtBackend(
            BackendOptions(**{"device_preprocessing": True} | options),
            flavour=fake_flavour(api),
            device=device,
            obtain=self.obtain,
        )

    @property
    def lent(self) -> int:
        """Frames that have memory of the device."""
        preparing = self.backend._preparing
        return len(preparing.uploads._pool._lent)

    def obtain(self, source: Any) -> Any:
        plan = source.role.encode()
        engine = SimpleNamespace(plan=plan, directory=self.folder, sha256="")
        return SimpleNamespace(engine=engine, key=SimpleNamespace(stripped=False))

    def load(self, spec: pb.Bundle = SPEC) -> None:
        for role, model in zip(ROLES, (classifier(), detector()), strict=True):
            path = self.folder / f"{role}.onnx"
            onnx.save(model, path)
            self.backend.load(role, path, spec.networks[role])

    def prepared(self, image: Image, roles: Sequence[str] = ROLES) -> Prepared:
        return prepared_on_device(self.backend, SPEC, image, roles)

    def check(self, image: Image) -> None:
        """Compare the inputs made of `image` with those of the CPU."""
        expected = prepared_from_image(image, SPEC, ROLES)
        prepared = self.prepared(image)
        try:
            assert prepared.notes == expected.notes
            for role in ROLES:
                placed = prepared.on_device[role]
                assert placed.placement == expected.inputs[role].placement
                [made] = self.backend.input_of(role, [placed])
                np.testing.assert_array_equal(made, expected.inputs[role].pixels)
        finally:
            prepared.release()


@contextmanager
def preparing_rig(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: FakeDevice | None = None,
    **options: Any,
) -> Iterator[PreparingRig]:
    """Open a rig; whatever it took from the device, it gave back in the end."""
    compiled = folder / "preprocess.fatbin"
    compiled.write_bytes(b"kernels")
    monkeypatch.setattr(kernels, "fatbin", lambda: compiled)
    device = device or FakeDevice()
    rig = PreparingRig(folder, device, **options)
    try:
        rig.load()
        yield rig
    finally:
        rig.backend.close()
    assert device.closed == 1
    if not device.guard.is_lost:
        assert not device.leaks


def random_image(
    seed: int,
    shape: tuple[int, int] = (90, 70),
    dtype: Any = np.uint16,
    bits: int | None = None,
) -> Image:
    """Return noise over a random part of what `bits` can hold."""
    random = np.random.default_rng(seed)
    bits = bits or 8 * np.dtype(dtype).itemsize
    low = -(2 ** (bits - 1)) if np.dtype(dtype).kind == "i" else 0
    first, last = sorted(low + random.integers(0, 2**bits, 2))
    pixels = random.integers(first, last + 1, shape).astype(dtype)
    # Never of one value, which this bundle refuses.
    pixels[0, 0], pixels[-1, -1] = low, low + 2**bits - 1
    photometric = random.choice([Photometric.MONOCHROME1, Photometric.MONOCHROME2])
    return Image(pixels=pixels, bits_stored=bits, photometric=Photometric(photometric))


CANVASES = {
    "fixed": pb.CanvasPolicy(fixed=pb.FixedCanvas(height=224, width=224)),
    "letterbox": pb.CanvasPolicy(letterbox=pb.Letterbox(height=512, width=512)),
    "shortest_edge": pb.CanvasPolicy(
        shortest_edge=pb.ShortestEdge(
            short_edge=800, max_long_edge=1333, pad_multiple=32
        )
    ),
    "native": pb.CanvasPolicy(native=pb.NativeSize(pad_multiple=32)),
}
"""Those of real networks, by role."""


def canvases_spec() -> pb.Bundle:
    """Return a spec whose networks differ in their canvas alone."""
    spec = tiny_spec()
    example = spec.networks["classifier"]
    for role, canvas in CANVASES.items():
        spec.networks[role].CopyFrom(example)
        spec.networks[role].input.canvas.CopyFrom(canvas)
    return spec


class InputMaker:
    """Makes inputs as a backend does, without networks; the device is current."""

    spec = canvases_spec()

    def __init__(self, device: Device, images_mib: int = 256) -> None:
        self.device = device
        options = BackendOptions(
            device_preprocessing=True, device_images_mib=images_mib
        )
        self.preparing = opened_preparing(device, options)
        self.stream = device.stream()
        self.resizer = Resizer(device, self.preparing.kernels, self.stream)
        self._using = threading.Lock()

    def uploaded(self, image: Image) -> DeviceImage:
        with self.preparing.uploads.uploading(image.pixels) as counted:
            first, counts = counted.first, counted.counts
            table = table_from_counts(image, self.spec.grey, first, counts)
            return counted.mapped(table.greys)

    def placed(self, image: Image, uploaded: DeviceImage, role: str) -> PlacedImage:
        canvas = self.spec.networks[role].input.canvas
        return PlacedImage(
            image=uploaded, placement=placement(*image.pixels.shape, canvas)
        )

    def made(self, frames: Sequence[PlacedImage]) -> Any:
        """Return the canvases of one batch, in memory that held noise."""
        shape = len(frames), 1, *frames[0].size
        nbytes = int(np.prod(shape))
        with self._using, ExitStack() as owner:
            host, memory = self.device.pinned(nbytes), self.device.allocate(nbytes)
            owner.callback(host.free)
            owner.callback(memory.free)
            owner.callback(self.stream.synchronize)
            host.array[:] = np.random.default_rng(nbytes).integers(0, 256, nbytes)
            self.device.copy_in(memory, host, nbytes, self.stream)
            self.resizer.enqueue(frames, memory.address)
            self.device.copy_out(host, memory, nbytes, self.stream)
            self.stream.synchronize()
            return host.array.reshape(shape).copy()

    def check(self, images: Sequence[Image], role: str) -> None:
        """Compare a batch with the CPU, bit by bit; images are of one padded size."""
        uploaded = [self.uploaded(image) for image in images]
        pairs = zip(images, uploaded, strict=True)
        made = self.made([self.placed(*pair, role) for pair in pairs])
        for one in uploaded:
            one.release()
        for slot, image in enumerate(images):
            expected = prepared_from_image(image, self.spec, [role]).inputs[role]
            np.testing.assert_array_equal(made[slot], expected.pixels)

    def close(self) -> None:
        self.stream.synchronize()
        self.resizer.close()
        self.preparing.close()
        self.stream.free()
