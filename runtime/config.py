"""Settings: read once from TOML, checked on construction, then read-only."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

from spinert.runtime.backends.settings import BackendSettings
from spinert.runtime.compiled.settings import EnginesSettings
from spinert.runtime.errors import ConfigError, Reason
from spinert.runtime.toml_values import built, require
from spinert.runtime.user_directories import user_directory

__all__ = [
    "UNIX_SCHEME",
    "DecodeSettings",
    "EngineSettings",
    "GoldenSettings",
    "KserveSettings",
    "ServerSettings",
    "Settings",
    "fallback_settings",
    "settings_from_toml",
]


UNIX_SCHEME = "unix:"

_HOST_PORT = re.compile(r"(\[[^][]+\]|[^][:]+):[0-9]{1,5}")


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _is_host_port(text: str) -> bool:
    return bool(_HOST_PORT.fullmatch(text)) and int(text.rpartition(":")[2]) <= 65_535


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """The gRPC front."""

    listen: str = "127.0.0.1:50051"
    """HOST:PORT; port 0 takes a free one. Beyond loopback, put TLS in front.
    Or unix:/PATH, a socket for devices of this machine."""

    socket_mode: int = 0o600
    """Who may connect to the socket of unix:/PATH: 0o600 is this user alone."""

    max_message_mib: int = 64
    """Largest message either way. Each stream may hold two of them in memory."""

    max_frames_in_flight: int = 16
    """Credit of one stream. More hides latency; each frame is held in memory."""

    max_connections: int = 256
    """Connections at a time; of each front process, and of each address of a name.
    Others are closed at once. Each costs a file descriptor and some memory."""

    reflection: bool = False
    """Let tools list the services. Handy in development, off in production."""

    grace_s: float = 30.0
    """How long frames in flight may take to finish after SIGTERM."""

    resume_window_s: float = 30.0
    """How long a resumable stream is kept after its connection broke, its frames
    computed and its answers held. 0: streams cannot be resumed."""

    resume_max_streams: int = 256
    """Resumable streams open or kept at a time, each with its credit of frames."""

    fronts: int = 1
    """Processes that receive frames; from 2 on they pass them on to this one. For
    many devices whose large frames fill a core, and cores to spare: of 15 MB the CPU
    of a frame doubles in all and this process keeps a third of what it had; of 600 KB
    it nearly trebles, and this process keeps most."""

    shared_memory: bool = False
    """Let devices of this machine register shared memory, from which frames are
    read. Not behind a proxy: all it forwards would count as of this machine."""

    shared_memory_users: tuple[int, ...] = ()
    """Numbers of the users, besides the server's own, whose memory may be used."""

    shared_memory_prefix: str = "/spinert-"
    """What keys of shared memory begin with: other objects of admitted users are out
    of reach. "/" admits all of them, as tools need that choose names themselves."""

    max_regions: int = 32
    """Regions registered at a time; each holds a file descriptor."""

    max_region_mib: int = 1024
    """Size of one region. Its memory is the client's, whatever the size."""

    def __post_init__(self) -> None:
        """Reject settings that could never serve a frame."""
        path = self.listen.removeprefix(UNIX_SCHEME)
        require(
            path.startswith("/") if path != self.listen else _is_host_port(path),
            "server.listen must be HOST:PORT, the port from 0 to 65535 and an IPv6 "
            "host in brackets, or unix:/PATH",
        )
        mode = self.socket_mode
        require(0o600 <= mode <= 0o777, "server.socket_mode: 0o600 to 0o777")
        require(1 <= self.max_message_mib <= 1024, "server.max_message_mib: 1 to 1024")
        require(self.max_frames_in_flight >= 1, "server.max_frames_in_flight: from 1")
        connections = self.max_connections
        require(1 <= connections <= 65_535, "server.max_connections: 1 to 65535")
        require(self.grace_s >= 0, "server.grace_s must not be negative")
        window_s = self.resume_window_s
        require(0 <= window_s <= 86_400, "server.resume_window_s: 0 to 86400")
        require(self.resume_max_streams >= 1, "server.resume_max_streams: from 1")
        require(1 <= self.fronts <= 64, "server.fronts: 1 to 64")
        require(
            self.fronts == 1 or not (self.reflection or path != self.listen),
            "server.fronts: several take HOST:PORT only, and no reflection",
        )
        users = self.shared_memory_users
        require(all(u >= 0 for u in users), "server.shared_memory_users: from 0")
        require(
            self.shared_memory_prefix.rfind("/") == 0,
            "server.shared_memory_prefix: a slash, and none behind it",
        )
        require(1 <= self.max_regions <= 512, "server.max_regions: 1 to 512")
        require(self.max_region_mib >= 1, "server.max_region_mib: from 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class KserveSettings:
    """The Open Inference Protocol, on the port of the front."""

    enabled: bool = True
    """Answer it at all. Its shared memory is that of server.shared_memory."""

    model_control: bool = False
    """Let clients unload models, and load them again, for all clients of this
    protocol. Nothing is read from disk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeSettings:
    """What may be decoded, and at what cost."""

    accept_modalities: tuple[str, ...] = ("CR", "DX", "RF", "XA")
    """(0008,0060) Modality of DICOM frames that are analysed."""

    workers: int = field(default_factory=_cores)
    """Decode processes; DICOM, PNG and JPEG frames pass through them."""

    timeout_s: float = 10.0
    """A decoder that takes longer is killed and the frame refused."""

    memory_mib: int = 1536
    """Address space of one decode process (RLIMIT_AS)."""

    min_edge_px: int = 64
    max_edge_px: int = 8192
    """Rows and Columns outside these are refused before any pixel work."""

    max_pixel_mib: int = 256
    """Decoded size of one frame."""

    max_elements: int = 20_000
    """Data elements in one DICOM file, all levels."""

    max_nesting: int = 16
    """Depth of sequences in one DICOM file."""

    max_tint: float = 24.0
    """Mean spread of the colour channels, in 8-bit levels, up to which a PNG or
    JPEG still counts as grey."""

    def __post_init__(self) -> None:
        """Reject limits that admit nothing."""
        require(bool(self.accept_modalities), "decode.accept_modalities is empty")
        require(self.workers >= 1, "decode.workers: from 1")
        require(self.timeout_s > 0, "decode.timeout_s must be positive")
        require(self.memory_mib >= 512, "decode.memory_mib: from 512")
        require(
            1 <= self.min_edge_px <= self.max_edge_px <= 65535,
            "decode: 1 <= min_edge_px <= max_edge_px <= 65535",
        )
        require(self.max_pixel_mib >= 1, "decode.max_pixel_mib: from 1")
        require(self.max_elements >= 1, "decode.max_elements: from 1")
        require(1 <= self.max_nesting <= 100, "decode.max_nesting: 1 to 100")


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSettings:
    """Queues and batches."""

    max_batch: int = 4
    """Largest batch of one network. A CPU gains nothing beyond a few."""

    max_delay_ms: float = 2.0
    """Longest wait for company. Raises the latency of a lone frame by this much."""

    max_frames: int = 64
    """Frames admitted at a time, over all devices; more are refused at once."""

    max_frames_per_device: int = 32
    """Frames admitted at a time from one device."""

    max_queue_mib: int = 512
    """Bytes of admitted frames, as they arrived."""

    prepare_threads: int = field(default_factory=_cores)
    """Threads that turn images into network inputs."""

    def __post_init__(self) -> None:
        """Reject queues that could never fill a batch."""
        require(self.max_batch >= 1, "engine.max_batch: from 1")
        require(self.max_delay_ms >= 0, "engine.max_delay_ms must not be negative")
        require(
            self.max_frames >= self.max_batch,
            "engine.max_frames must hold at least one full batch (max_batch)",
        )
        require(self.max_frames_per_device >= 1, "engine.max_frames_per_device: from 1")
        require(self.max_queue_mib >= 1, "engine.max_queue_mib: from 1")
        require(self.prepare_threads >= 1, "engine.prepare_threads: from 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenSettings:
    """The gate: the golden set, and certificates of having passed it."""

    state_dir: str = ""
    """Where certificates of backends without engines are kept; empty:
    $XDG_STATE_HOME/spinert, else ~/.local/state/spinert."""

    require_certificate: bool = False
    """Refuse to start without a certificate instead of running the gate first."""

    def directory(self) -> Path | None:
        """Return the directory of certificates; it may not exist yet.

        None where none can be stored: no setting, and a user without a home,
        as in many containers.
        """
        if self.state_dir:
            return Path(self.state_dir)
        base = user_directory("XDG_STATE_HOME", ".local/state")
        return base / "spinert" if base else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything the server needs besides a bundle."""

    server: ServerSettings = field(default_factory=ServerSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    backend: BackendSettings = field(default_factory=BackendSettings)
    golden: GoldenSettings = field(default_factory=GoldenSettings)
    kserve: KserveSettings = field(default_factory=KserveSettings)
    engines: EnginesSettings = field(default_factory=EnginesSettings)


def fallback_settings(settings: Settings) -> Settings:
    """Return `settings` with the fallback as the backend, in its own precision."""
    fallback = replace(
        settings.backend,
        name=settings.backend.fallback,
        fallback="",
        precision="",
        device_preprocessing=False,
    )
    return replace(settings, backend=fallback)


def settings_from_toml(path: Path) -> Settings:
    """Read settings; every key must be known and of the right type.

    Raises:
        ConfigError: The file is missing, is not TOML, or holds a wrong key or value.
    """
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(
            Reason.CONFIG_INVALID, f"cannot read {path}: {error.strerror}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            Reason.CONFIG_INVALID, f"{path} is not valid TOML: {error}"
        ) from error
    return built(Settings, table, path.name)
