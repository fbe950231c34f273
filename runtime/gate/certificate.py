"""Certificates: what passed the gate on this machine need not pass it again.

One for each network, beside its engine or, without engines, in golden.state_dir. It
is good for exactly what is in its key, and for the batch sizes that were run. Only a
file that this user alone could have written counts.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from spinert import __version__
from spinert.runtime.backends import Backend, Capabilities, CompiledBackend
from spinert.runtime.backends.precision import precision_text
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.compiled.trust import own_directory, read_own_file
from spinert.runtime.engine.switch import engine_key
from spinert.runtime.errors import BackendUnavailable
from spinert.runtime.gate.report import GateReport, NetworkGate
from spinert.runtime.recompute.split import recomputation_from_bundle

__all__ = ["CertificateKey", "Certificates", "cpu_features", "cpu_model"]

logger = logging.getLogger(__name__)

_CPUINFO: Final = Path("/proc/cpuinfo")
_MAX_BYTES: Final = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificateKey:
    """What a certificate is good for; anything else has to prove itself again."""

    network: str
    bundle_sha256: str
    capabilities: Capabilities
    """Backend, its version, precision, device and threads."""
    engine_key: str
    """Empty: no engine is compiled."""
    engine_sha256: str
    """Of the engine that was loaded; another build may use other kernels."""
    recomputed_by: str
    """What computes frames again, where the network has split graphs."""
    runtime_version: str
    machine: str
    """The processor: kernels, and so rounding, depend on it."""
    cpu_features: str
    """SHA-256 of its instruction sets: virtual machines share names."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it: tuples are lists there."""
        told: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return told

    def file_name(self) -> str:
        """Return a name that no other key has."""
        text = json.dumps(self.as_json(), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return f"certificate-{digest[:32]}.json"


class Certificates:
    """Those of one bundle on one backend."""

    def __init__(
        self, bundle: LoadedBundle, backend: Backend, state_dir: Path | None
    ) -> None:
        """Look for them; nothing is read yet.

        Args:
            bundle: Which bundle.
            backend: Has loaded its networks.
            state_dir: For backends without engines; None: nowhere.
        """
        directories: Mapping[str, Path] = {}
        engines: Mapping[str, str] = {}
        if isinstance(backend, CompiledBackend):
            directories, engines = backend.engine_directories, backend.engine_sha256s
        shared = None if state_dir is None else state_dir / "certificates"
        self._keys = {
            role: CertificateKey(
                network=role,
                bundle_sha256=bundle.sha256,
                capabilities=backend.capabilities,
                engine_key=engine_key(backend, role),
                engine_sha256=engines.get(role, ""),
                recomputed_by=_recomputed_by(bundle, role),
                runtime_version=__version__,
                machine=cpu_model(),
                cpu_features=cpu_features(),
            )
            for role in sorted(bundle.spec.networks)
        }
        self._directories = {role: directories.get(role, shared) for role in self._keys}

    @property
    def can_be_stored(self) -> bool:
        """Tell whether there is a place for them."""
        return None not in self._directories.values()

    def paths(self) -> list[Path]:
        """Return where they are, or would be."""
        return [
            directory / key.file_name()
            for role, key in self._keys.items()
            if (directory := self._directories[role]) is not None
        ]

    def cover(self, batch_sizes: Iterable[int]) -> bool:
        """Tell whether every network has passed with all of `batch_sizes`.

        A certificate that is missing, damaged, of something else, or that another
        user could have written is none.
        """
        wanted = set(batch_sizes)
        return all(self._covers(role, wanted) for role in self._keys)

    def store(self, report: GateReport) -> None:
        """Write them: each complete on disk or not there at all.

        Where that cannot be, it is logged, and the gate runs at the next start.

        Args:
            report: Of a gate that all networks passed.
        """
        for role, key in self._keys.items():
            gates = [gate for gate in report.networks if gate.network == role]
            directory = self._directories[role]
            if directory is None:
                continue
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                _write_atomically(directory / key.file_name(), _content(key, gates))
            except OSError as error:
                logger.warning(
                    "cannot store the certificate of network %s: %s",
                    role,
                    error.strerror,
                )

    def _covers(self, role: str, batch_sizes: set[int]) -> bool:
        directory, key = self._directories[role], self._keys[role]
        if directory is None:
            return False
        try:
            with own_directory(directory) as folder:
                content = read_own_file(folder, key.file_name(), _MAX_BYTES)
            return _is_good(json.loads(content), key, batch_sizes)
        except FileNotFoundError:
            return False
        except BackendUnavailable:
            logger.warning("others may write the certificate of network %s", role)
            return False
        except (OSError, ValueError, KeyError, TypeError):
            logger.warning("the certificate of network %s is damaged", role)
            return False


def cpu_model() -> str:
    """Return the processor's name and architecture."""
    lines = (line for line in _cpuinfo() if "model name" in line)
    names = (line.partition(":")[2].strip() for line in lines)
    return f"{next(names, platform.processor())} {platform.machine()}".strip()


def cpu_features() -> str:
    """Return the hexadecimal SHA-256 of the processor's instruction sets."""
    told = (line.partition(":") for line in _cpuinfo())
    # x86 and ARM.
    found = (text for name, _, text in told if name.strip() in ("flags", "Features"))
    features = " ".join(sorted(next(found, "").split()))
    return hashlib.sha256(features.encode()).hexdigest()


def _cpuinfo() -> list[str]:
    try:
        return _CPUINFO.read_text().splitlines()
    except OSError:
        return []


def _recomputed_by(bundle: LoadedBundle, role: str) -> str:
    recomputation = recomputation_from_bundle(bundle, role)
    if recomputation is None:
        return ""
    try:
        return recomputation.backend
    except BackendUnavailable:
        # The gate says so.
        return "nothing"


def _content(key: CertificateKey, gates: Sequence[NetworkGate]) -> bytes:
    told = key.capabilities
    content = {
        "format": 1,
        "key": key.as_json(),
        "precision_text": precision_text(told.name, told.precision),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "batch_sizes": sorted({size for gate in gates for size in gate.batch_sizes}),
        "gates": [asdict(gate) for gate in gates],
    }
    return json.dumps(content, indent=2, sort_keys=True).encode()


def _is_good(stored: Any, key: CertificateKey, batch_sizes: set[int]) -> bool:
    """Tell whether a certificate is of `key` and says what it has to."""
    measures = [measure for gate in stored["gates"] for measure in gate["measures"]]
    return bool(
        stored["key"] == key.as_json()
        and batch_sizes <= set(stored["batch_sizes"])
        and measures
        and all(m["measured_max_abs"] <= m["tolerance_abs"] for m in measures)
    )


def _write_atomically(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
