"""What is evaluated: a bundle, on a backend, in a precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from spinert import __version__
from spinert.proto import bundle_pb2
from spinert.proto import inference_pb2 as pb
from spinert.runtime.backends import Capabilities
from spinert.runtime.backends.precision import precision_text as text_of
from spinert.runtime.bundle import CLASSIFIER, LoadedBundle

__all__ = [
    "Rules",
    "Subject",
    "json_from_subject",
    "precision_text",
    "rules_from_bundle",
    "subject_from_bundle",
    "subject_from_json",
    "subject_from_server",
]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How a bundle decides; the messages are never modified."""

    decision: bundle_pb2.DecisionRule
    fusion: bundle_pb2.Fusion


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Everything a report says about where its predictions come from."""

    bundle_name: str
    bundle_version: str
    bundle_sha256: str
    notice: str
    backend: str
    """Name and version."""
    precision: str
    device: str
    """Empty: a server, which does not say."""
    runtime_version: str
    members: tuple[str, ...]
    """Of the classifier, in the order of `Prediction.members`."""
    classes: tuple[str, ...]
    architectures: tuple[tuple[str, str], ...]
    """(role, architecture) of every network."""
    rules: Rules | None
    """None: a server whose bundle was not given."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Return what two runs must share to be one: bundle, backend, precision."""
        return self.bundle_sha256, self.backend, self.precision


def subject_from_bundle(bundle: LoadedBundle, capabilities: Capabilities) -> Subject:
    """Describe a bundle that a backend of this process has loaded."""
    spec = bundle.spec
    return Subject(
        bundle_name=spec.name,
        bundle_version=spec.version,
        bundle_sha256=bundle.sha256,
        notice=spec.notice,
        backend=f"{capabilities.name} {capabilities.version}".strip(),
        precision=capabilities.precision,
        device=capabilities.device,
        runtime_version=__version__,
        members=tuple(spec.networks[CLASSIFIER].members),
        classes=tuple(entry.name for entry in spec.classes),
        architectures=tuple(
            (role, network.architecture)
            for role, network in sorted(spec.networks.items())
        ),
        rules=rules_from_bundle(bundle),
    )


def subject_from_server(info: pb.ServerInfo, rules: Rules | None) -> Subject:
    """Describe what a server says it serves.

    Args:
        info: What it answers to GetServerInfo.
        rules: Of its bundle, where that is at hand.
    """
    members = {network.role: network.members for network in info.networks}
    return Subject(
        bundle_name=info.bundle_name,
        bundle_version=info.bundle_version,
        bundle_sha256=info.bundle_sha256,
        notice=info.notice,
        backend=info.backend,
        precision=info.precision,
        device="",
        runtime_version=info.runtime_version,
        members=tuple(members.get(CLASSIFIER, ())),
        classes=tuple(info.class_names),
        architectures=tuple(
            (network.role, network.architecture) for network in info.networks
        ),
        rules=rules,
    )


def rules_from_bundle(bundle: LoadedBundle) -> Rules:
    """Return how `bundle` decides."""
    return Rules(decision=bundle.spec.decision, fusion=bundle.spec.fusion)


def precision_text(subject: Subject) -> str:
    """Return the precision in words, and where it is emulated."""
    return text_of(subject.backend, subject.precision)


def json_from_subject(subject: Subject) -> dict[str, Any]:
    """Return JSON values; `subject_from_json` reads them."""
    rules = subject.rules
    return {
        "bundle": {
            "name": subject.bundle_name,
            "version": subject.bundle_version,
            "sha256": subject.bundle_sha256,
            "notice": subject.notice,
        },
        "backend": subject.backend,
        "precision": subject.precision,
        "device": subject.device,
        "runtime_version": subject.runtime_version,
        "members": list(subject.members),
        "classes": list(subject.classes),
        "networks": dict(subject.architectures),
        "rules": None
        if rules is None
        else {
            "decision": json_format.MessageToDict(rules.decision),
            "fusion": json_format.MessageToDict(rules.fusion),
        },
    }


def subject_from_json(values: dict[str, Any]) -> Subject:
    """Read what `json_from_subject` wrote.

    Raises:
        KeyError: A value is missing.
        TypeError: One is of another kind.
        json_format.ParseError: A rule is none of bundle.proto.
    """
    bundle, rules = values["bundle"], values["rules"]
    return Subject(
        bundle_name=str(bundle["name"]),
        bundle_version=str(bundle["version"]),
        bundle_sha256=str(bundle["sha256"]),
        notice=str(bundle["notice"]),
        backend=str(values["backend"]),
        precision=str(values["precision"]),
        device=str(values["device"]),
        runtime_version=str(values["runtime_version"]),
        members=tuple(map(str, values["members"])),
        classes=tuple(map(str, values["classes"])),
        architectures=tuple((str(k), str(v)) for k, v in values["networks"].items()),
        rules=None if rules is None else _rules(rules),
    )


def _rules(values: dict[str, Any]) -> Rules:
    return Rules(
        decision=json_format.ParseDict(values["decision"], bundle_pb2.DecisionRule()),
        fusion=json_format.ParseDict(values["fusion"], bundle_pb2.Fusion()),
    )
