"""What can be asked for: the pipeline, and each network alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from spinert.proto import bundle_pb2
from spinert.proto import open_inference_pb2 as oip
from spinert.runtime.bundle import CLASSIFIER, DETECTOR, LoadedBundle
from spinert.runtime.config import EngineSettings
from spinert.runtime.kserve.datatypes import BYTES, DATATYPES

__all__ = [
    "SPINE",
    "VERDICT",
    "VERSION",
    "Model",
    "TensorSpec",
    "config_from_model",
    "metadata_from_model",
    "models_from_bundle",
]

SPINE = "spine"
"""The whole pipeline."""

VERSION = "1"
"""Of every model: tools want a number, and the bundle's own version may be none."""

VERDICT = "verdict"
"""The output that is only there when it is asked for."""

_ANY = -1
_PRIORITY_LEVELS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """An input or output."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """With the batch axis where there is one; -1: any."""
    is_optional: bool = False
    also: tuple[str, ...] = ()
    """Other element types that an input may have."""

    @property
    def datatypes(self) -> tuple[str, ...]:
        """All element types it may have."""
        return (self.datatype, *self.also)


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """One model; `role` is empty for the pipeline."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch: int
    """0: no batch axis."""
    max_delay_us: int
    role: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def platform(self) -> str:
        """What tools show as the framework."""
        return "onnx" if self.role else "spinert"


def models_from_bundle(
    bundle: LoadedBundle, limits: EngineSettings
) -> Mapping[str, Model]:
    """Describe what a server of `bundle` offers, by name."""
    spec = bundle.spec
    told = {
        "bundle_name": spec.name,
        "bundle_version": spec.version,
        "bundle_sha256": bundle.sha256,
        "notice": spec.notice,
    }
    delay_us = round(limits.max_delay_ms * 1000)
    models = [
        Model(
            name=SPINE,
            inputs=_SPINE_INPUTS,
            outputs=_SPINE_OUTPUTS,
            max_batch=0,
            max_delay_us=delay_us,
            parameters=MappingProxyType(told),
        )
    ]
    for role in (CLASSIFIER, DETECTOR):
        network = spec.networks[role]
        models.append(
            Model(
                name=role,
                inputs=_network_inputs(network.input),
                outputs=_network_outputs(network),
                max_batch=limits.max_batch,
                max_delay_us=delay_us,
                role=role,
                parameters=MappingProxyType(
                    {**told, "architecture": network.architecture}
                ),
            )
        )
    return MappingProxyType({model.name: model for model in models})


def metadata_from_model(model: Model) -> oip.ModelMetadataResponse:
    """Name the tensors, with the batch axis."""
    tensor = oip.ModelMetadataResponse.TensorMetadata
    return oip.ModelMetadataResponse(
        name=model.name,
        versions=[VERSION],
        platform=model.platform,
        inputs=[
            tensor(name=spec.name, datatype=spec.datatype, shape=spec.shape)
            for spec in model.inputs
        ],
        outputs=[
            tensor(name=spec.name, datatype=spec.datatype, shape=spec.shape)
            for spec in model.outputs
        ],
    )


def config_from_model(model: Model) -> oip.ModelConfigResponse:
    """Describe the model as Triton would, whose tools read it before they start."""
    axes = 1 if model.max_batch else 0  # dims are without the batch axis
    config = oip.ModelConfig(
        name=model.name,
        platform=model.platform,
        backend="spinert",
        max_batch_size=model.max_batch,
        input=[
            oip.ModelInput(
                name=spec.name,
                data_type=DATATYPES[spec.datatype].config,
                dims=spec.shape[axes:],
                optional=spec.is_optional,
            )
            for spec in model.inputs
        ],
        output=[
            oip.ModelOutput(
                name=spec.name,
                data_type=DATATYPES[spec.datatype].config,
                dims=spec.shape[axes:],
            )
            for spec in model.outputs
        ],
    )
    for name, value in model.parameters.items():
        config.parameters[name].string_value = value
    if model.max_batch:
        batching = config.dynamic_batching
        batching.preferred_batch_size.append(model.max_batch)
        batching.max_queue_delay_microseconds = model.max_delay_us
        batching.priority_levels = _PRIORITY_LEVELS
        batching.default_priority_level = _PRIORITY_LEVELS
    return oip.ModelConfigResponse(config=config)


_SPINE_INPUTS = (
    TensorSpec(name="frame", datatype=BYTES, shape=(1,), is_optional=True),
    TensorSpec(
        name="image",
        datatype="UINT16",
        shape=(_ANY, _ANY),
        is_optional=True,
        also=("UINT8", "INT16"),
    ),
)
_SPINE_OUTPUTS = (
    TensorSpec(name="abnormal_probability", datatype="FP64", shape=(1,)),
    TensorSpec(name="threshold", datatype="FP64", shape=(1,)),
    TensorSpec(name="decision", datatype="INT32", shape=(1,)),
    TensorSpec(name="assessment", datatype="INT32", shape=(1,)),
    TensorSpec(name="member_probabilities", datatype="FP64", shape=(_ANY,)),
    TensorSpec(name="boxes", datatype="FP32", shape=(_ANY, 4)),
    TensorSpec(name="scores", datatype="FP32", shape=(_ANY,)),
    TensorSpec(name="classes", datatype="INT32", shape=(_ANY,)),
    TensorSpec(name="class_names", datatype=BYTES, shape=(_ANY,)),
    TensorSpec(name=VERDICT, datatype=BYTES, shape=(1,)),
)


def _network_inputs(network: bundle_pb2.NetworkInput) -> tuple[TensorSpec, ...]:
    """Return the inputs of the graph (bundle.proto's contract)."""
    is_grey = network.element_type == bundle_pb2.ELEMENT_UINT8
    channels = 1 if is_grey else len(network.mean)
    image = TensorSpec(
        name="image",
        datatype="UINT8" if is_grey else "FP32",
        shape=(_ANY, channels, *_canvas_size(network.canvas)),
    )
    if not network.takes_image_size:
        return (image,)
    return image, TensorSpec(name="image_size", datatype="INT32", shape=(_ANY, 2))


def _canvas_size(canvas: bundle_pb2.CanvasPolicy) -> tuple[int, int]:
    match canvas.WhichOneof("kind"):
        case "fixed":
            return canvas.fixed.height, canvas.fixed.width
        case "letterbox":
            return canvas.letterbox.height, canvas.letterbox.width
        case _:
            return _ANY, _ANY


def _network_outputs(network: bundle_pb2.Network) -> tuple[TensorSpec, ...]:
    if network.output == bundle_pb2.OUTPUT_LOGITS:
        shape = (_ANY, len(network.members))
        return (TensorSpec(name="logits", datatype="FP32", shape=shape),)
    count = network.detection.candidates
    return (
        TensorSpec(name="boxes", datatype="FP32", shape=(_ANY, count, 4)),
        TensorSpec(name="scores", datatype="FP32", shape=(_ANY, count)),
        TensorSpec(name="labels", datatype="INT64", shape=(_ANY, count)),
    )
