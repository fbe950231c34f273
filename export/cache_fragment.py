"""What one network adds to a bundle, cut out and put back."""

from __future__ import annotations

from spinert.proto import bundle_pb2 as pb

__all__ = ["add_fragment", "fragment"]


def fragment(bundle: pb.Bundle, role: str) -> pb.Bundle:
    """Return a bundle with nothing but one network and what is recorded of it."""
    part = pb.Bundle()
    part.networks[role].CopyFrom(bundle.networks[role])
    for frame in bundle.golden.frames:
        part.golden.frames.add().networks[role].CopyFrom(frame.networks[role])
    records = [r for r in bundle.provenance.checkpoints if r.role == role]
    part.provenance.checkpoints.extend(records)
    return part


def add_fragment(bundle: pb.Bundle, part: pb.Bundle) -> None:
    """Put a fragment into a bundle of the same golden frames, in place."""
    for role, network in part.networks.items():
        bundle.networks[role].CopyFrom(network)
    for frame, found in zip(bundle.golden.frames, part.golden.frames, strict=True):
        for role, case in found.networks.items():
            frame.networks[role].CopyFrom(case)
    bundle.provenance.checkpoints.extend(part.provenance.checkpoints)
