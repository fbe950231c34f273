from spinert.proto import inference_pb2 as _inference_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VoiRule(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VOI_RULE_UNSPECIFIED: _ClassVar[VoiRule]
    VOI_LUT_THEN_WINDOW: _ClassVar[VoiRule]
    VOI_WINDOW_THEN_LUT: _ClassVar[VoiRule]
    VOI_IGNORED: _ClassVar[VoiRule]

class ConstantImage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONSTANT_IMAGE_UNSPECIFIED: _ClassVar[ConstantImage]
    CONSTANT_IMAGE_REFUSE: _ClassVar[ConstantImage]
    CONSTANT_IMAGE_ZERO: _ClassVar[ConstantImage]

class Resampler(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESAMPLER_UNSPECIFIED: _ClassVar[Resampler]
    PILLOW_BILINEAR_U8_HORIZONTAL_FIRST: _ClassVar[Resampler]
    TORCH_BILINEAR_F32: _ClassVar[Resampler]

class EdgeRounding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUND_HALF_UP: _ClassVar[EdgeRounding]
    ROUND_DOWN: _ClassVar[EdgeRounding]

class ElementType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ELEMENT_TYPE_UNSPECIFIED: _ClassVar[ElementType]
    ELEMENT_UINT8: _ClassVar[ElementType]
    ELEMENT_FLOAT32: _ClassVar[ElementType]

class OutputKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_KIND_UNSPECIFIED: _ClassVar[OutputKind]
    OUTPUT_LOGITS: _ClassVar[OutputKind]
    OUTPUT_CANDIDATES: _ClassVar[OutputKind]

class CombinationRule(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMBINATION_RULE_UNSPECIFIED: _ClassVar[CombinationRule]
    COMBINATION_LOGIT_MEAN: _ClassVar[CombinationRule]
    COMBINATION_PROBABILITY_MEAN: _ClassVar[CombinationRule]
    COMBINATION_WEIGHTED: _ClassVar[CombinationRule]

class Comparison(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPARISON_UNSPECIFIED: _ClassVar[Comparison]
    GREATER_OR_EQUAL: _ClassVar[Comparison]
    GREATER: _ClassVar[Comparison]

class FusionRule(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FUSION_RULE_UNSPECIFIED: _ClassVar[FusionRule]
    FUSION_PAPER: _ClassVar[FusionRule]
    FUSION_HARD_CASCADE: _ClassVar[FusionRule]
    FUSION_NONE: _ClassVar[FusionRule]
VOI_RULE_UNSPECIFIED: VoiRule
VOI_LUT_THEN_WINDOW: VoiRule
VOI_WINDOW_THEN_LUT: VoiRule
VOI_IGNORED: VoiRule
CONSTANT_IMAGE_UNSPECIFIED: ConstantImage
CONSTANT_IMAGE_REFUSE: ConstantImage
CONSTANT_IMAGE_ZERO: ConstantImage
RESAMPLER_UNSPECIFIED: Resampler
PILLOW_BILINEAR_U8_HORIZONTAL_FIRST: Resampler
TORCH_BILINEAR_F32: Resampler
ROUND_HALF_UP: EdgeRounding
ROUND_DOWN: EdgeRounding
ELEMENT_TYPE_UNSPECIFIED: ElementType
ELEMENT_UINT8: ElementType
ELEMENT_FLOAT32: ElementType
OUTPUT_KIND_UNSPECIFIED: OutputKind
OUTPUT_LOGITS: OutputKind
OUTPUT_CANDIDATES: OutputKind
COMBINATION_RULE_UNSPECIFIED: CombinationRule
COMBINATION_LOGIT_MEAN: CombinationRule
COMBINATION_PROBABILITY_MEAN: CombinationRule
COMBINATION_WEIGHTED: CombinationRule
COMPARISON_UNSPECIFIED: Comparison
GREATER_OR_EQUAL: Comparison
GREATER: Comparison
FUSION_RULE_UNSPECIFIED: FusionRule
FUSION_PAPER: FusionRule
FUSION_HARD_CASCADE: FusionRule
FUSION_NONE: FusionRule

class Bundle(_message.Message):
    __slots__ = ("format", "name", "version", "notice", "grey", "networks", "combination", "decision", "classes", "fusion", "golden", "provenance", "files", "constancy")
    class NetworksEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Network
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Network, _Mapping]] = ...) -> None: ...
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    GREY_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    COMBINATION_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    FUSION_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    CONSTANCY_FIELD_NUMBER: _ClassVar[int]
    format: int
    name: str
    version: str
    notice: str
    grey: GreyRule
    networks: _containers.MessageMap[str, Network]
    combination: Combination
    decision: DecisionRule
    classes: _containers.RepeatedCompositeFieldContainer[FindingClass]
    fusion: Fusion
    golden: GoldenSet
    provenance: BundleProvenance
    files: _containers.RepeatedCompositeFieldContainer[File]
    constancy: _inference_pb2.Constancy
    def __init__(self, format: _Optional[int] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., notice: _Optional[str] = ..., grey: _Optional[_Union[GreyRule, _Mapping]] = ..., networks: _Optional[_Mapping[str, Network]] = ..., combination: _Optional[_Union[Combination, _Mapping]] = ..., decision: _Optional[_Union[DecisionRule, _Mapping]] = ..., classes: _Optional[_Iterable[_Union[FindingClass, _Mapping]]] = ..., fusion: _Optional[_Union[Fusion, _Mapping]] = ..., golden: _Optional[_Union[GoldenSet, _Mapping]] = ..., provenance: _Optional[_Union[BundleProvenance, _Mapping]] = ..., files: _Optional[_Iterable[_Union[File, _Mapping]]] = ..., constancy: _Optional[_Union[_inference_pb2.Constancy, _Mapping]] = ...) -> None: ...

class File(_message.Message):
    __slots__ = ("path", "bytes", "sha256")
    PATH_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    path: str
    bytes: int
    sha256: str
    def __init__(self, path: _Optional[str] = ..., bytes: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class GreyRule(_message.Message):
    __slots__ = ("modality_lut", "voi", "invert_monochrome1", "constant_image")
    MODALITY_LUT_FIELD_NUMBER: _ClassVar[int]
    VOI_FIELD_NUMBER: _ClassVar[int]
    INVERT_MONOCHROME1_FIELD_NUMBER: _ClassVar[int]
    CONSTANT_IMAGE_FIELD_NUMBER: _ClassVar[int]
    modality_lut: bool
    voi: VoiRule
    invert_monochrome1: bool
    constant_image: ConstantImage
    def __init__(self, modality_lut: bool = ..., voi: _Optional[_Union[VoiRule, str]] = ..., invert_monochrome1: bool = ..., constant_image: _Optional[_Union[ConstantImage, str]] = ...) -> None: ...

class FixedCanvas(_message.Message):
    __slots__ = ("height", "width")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    height: int
    width: int
    def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ...) -> None: ...

class Letterbox(_message.Message):
    __slots__ = ("height", "width")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    height: int
    width: int
    def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ...) -> None: ...

class ShortestEdge(_message.Message):
    __slots__ = ("short_edge", "max_long_edge", "pad_multiple", "rounding")
    SHORT_EDGE_FIELD_NUMBER: _ClassVar[int]
    MAX_LONG_EDGE_FIELD_NUMBER: _ClassVar[int]
    PAD_MULTIPLE_FIELD_NUMBER: _ClassVar[int]
    ROUNDING_FIELD_NUMBER: _ClassVar[int]
    short_edge: int
    max_long_edge: int
    pad_multiple: int
    rounding: EdgeRounding
    def __init__(self, short_edge: _Optional[int] = ..., max_long_edge: _Optional[int] = ..., pad_multiple: _Optional[int] = ..., rounding: _Optional[_Union[EdgeRounding, str]] = ...) -> None: ...

class NativeSize(_message.Message):
    __slots__ = ("pad_multiple",)
    PAD_MULTIPLE_FIELD_NUMBER: _ClassVar[int]
    pad_multiple: int
    def __init__(self, pad_multiple: _Optional[int] = ...) -> None: ...

class CanvasPolicy(_message.Message):
    __slots__ = ("fixed", "letterbox", "shortest_edge", "native")
    FIXED_FIELD_NUMBER: _ClassVar[int]
    LETTERBOX_FIELD_NUMBER: _ClassVar[int]
    SHORTEST_EDGE_FIELD_NUMBER: _ClassVar[int]
    NATIVE_FIELD_NUMBER: _ClassVar[int]
    fixed: FixedCanvas
    letterbox: Letterbox
    shortest_edge: ShortestEdge
    native: NativeSize
    def __init__(self, fixed: _Optional[_Union[FixedCanvas, _Mapping]] = ..., letterbox: _Optional[_Union[Letterbox, _Mapping]] = ..., shortest_edge: _Optional[_Union[ShortestEdge, _Mapping]] = ..., native: _Optional[_Union[NativeSize, _Mapping]] = ...) -> None: ...

class NetworkInput(_message.Message):
    __slots__ = ("element_type", "canvas", "resampler", "resampler_version", "mean", "std", "fill", "takes_image_size")
    ELEMENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    CANVAS_FIELD_NUMBER: _ClassVar[int]
    RESAMPLER_FIELD_NUMBER: _ClassVar[int]
    RESAMPLER_VERSION_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    FILL_FIELD_NUMBER: _ClassVar[int]
    TAKES_IMAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    element_type: ElementType
    canvas: CanvasPolicy
    resampler: Resampler
    resampler_version: str
    mean: _containers.RepeatedScalarFieldContainer[float]
    std: _containers.RepeatedScalarFieldContainer[float]
    fill: _containers.RepeatedScalarFieldContainer[float]
    takes_image_size: bool
    def __init__(self, element_type: _Optional[_Union[ElementType, str]] = ..., canvas: _Optional[_Union[CanvasPolicy, _Mapping]] = ..., resampler: _Optional[_Union[Resampler, str]] = ..., resampler_version: _Optional[str] = ..., mean: _Optional[_Iterable[float]] = ..., std: _Optional[_Iterable[float]] = ..., fill: _Optional[_Iterable[float]] = ..., takes_image_size: bool = ...) -> None: ...

class Parity(_message.Message):
    __slots__ = ("reference", "compared", "batch_sizes", "outputs", "decision_flips")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    COMPARED_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZES_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FLIPS_FIELD_NUMBER: _ClassVar[int]
    reference: str
    compared: str
    batch_sizes: _containers.RepeatedScalarFieldContainer[int]
    outputs: _containers.RepeatedCompositeFieldContainer[OutputParity]
    decision_flips: int
    def __init__(self, reference: _Optional[str] = ..., compared: _Optional[str] = ..., batch_sizes: _Optional[_Iterable[int]] = ..., outputs: _Optional[_Iterable[_Union[OutputParity, _Mapping]]] = ..., decision_flips: _Optional[int] = ...) -> None: ...

class OutputParity(_message.Message):
    __slots__ = ("output", "tolerance_abs", "measured_max_abs", "measured_mean_abs")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_ABS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_MAX_ABS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_MEAN_ABS_FIELD_NUMBER: _ClassVar[int]
    output: str
    tolerance_abs: float
    measured_max_abs: float
    measured_mean_abs: float
    def __init__(self, output: _Optional[str] = ..., tolerance_abs: _Optional[float] = ..., measured_max_abs: _Optional[float] = ..., measured_mean_abs: _Optional[float] = ...) -> None: ...

class Network(_message.Message):
    __slots__ = ("file", "architecture", "members", "input", "output", "detection", "precision", "parity", "import_options", "forms", "operators", "split", "deviations")
    class ImportOptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FILE_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    DETECTION_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    PARITY_FIELD_NUMBER: _ClassVar[int]
    IMPORT_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    FORMS_FIELD_NUMBER: _ClassVar[int]
    OPERATORS_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    DEVIATIONS_FIELD_NUMBER: _ClassVar[int]
    file: str
    architecture: str
    members: _containers.RepeatedScalarFieldContainer[str]
    input: NetworkInput
    output: OutputKind
    detection: DetectionRule
    precision: str
    parity: Parity
    import_options: _containers.ScalarMap[str, str]
    forms: _containers.RepeatedCompositeFieldContainer[Form]
    operators: _containers.RepeatedScalarFieldContainer[str]
    split: Split
    deviations: _containers.RepeatedCompositeFieldContainer[Deviation]
    def __init__(self, file: _Optional[str] = ..., architecture: _Optional[str] = ..., members: _Optional[_Iterable[str]] = ..., input: _Optional[_Union[NetworkInput, _Mapping]] = ..., output: _Optional[_Union[OutputKind, str]] = ..., detection: _Optional[_Union[DetectionRule, _Mapping]] = ..., precision: _Optional[str] = ..., parity: _Optional[_Union[Parity, _Mapping]] = ..., import_options: _Optional[_Mapping[str, str]] = ..., forms: _Optional[_Iterable[_Union[Form, _Mapping]]] = ..., operators: _Optional[_Iterable[str]] = ..., split: _Optional[_Union[Split, _Mapping]] = ..., deviations: _Optional[_Iterable[_Union[Deviation, _Mapping]]] = ...) -> None: ...

class Deviation(_message.Message):
    __slots__ = ("option", "default_value", "used_value", "findings", "lost", "invented", "decision_flips", "boxes_max_px", "boxes_mean_px", "scores_max", "scores_mean")
    OPTION_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_VALUE_FIELD_NUMBER: _ClassVar[int]
    USED_VALUE_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    INVENTED_FIELD_NUMBER: _ClassVar[int]
    DECISION_FLIPS_FIELD_NUMBER: _ClassVar[int]
    BOXES_MAX_PX_FIELD_NUMBER: _ClassVar[int]
    BOXES_MEAN_PX_FIELD_NUMBER: _ClassVar[int]
    SCORES_MAX_FIELD_NUMBER: _ClassVar[int]
    SCORES_MEAN_FIELD_NUMBER: _ClassVar[int]
    option: str
    default_value: str
    used_value: str
    findings: int
    lost: int
    invented: int
    decision_flips: int
    boxes_max_px: float
    boxes_mean_px: float
    scores_max: float
    scores_mean: float
    def __init__(self, option: _Optional[str] = ..., default_value: _Optional[str] = ..., used_value: _Optional[str] = ..., findings: _Optional[int] = ..., lost: _Optional[int] = ..., invented: _Optional[int] = ..., decision_flips: _Optional[int] = ..., boxes_max_px: _Optional[float] = ..., boxes_mean_px: _Optional[float] = ..., scores_max: _Optional[float] = ..., scores_mean: _Optional[float] = ...) -> None: ...

class Form(_message.Message):
    __slots__ = ("file", "precision", "operators", "parity", "kept_fp32")
    FILE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    OPERATORS_FIELD_NUMBER: _ClassVar[int]
    PARITY_FIELD_NUMBER: _ClassVar[int]
    KEPT_FP32_FIELD_NUMBER: _ClassVar[int]
    file: str
    precision: str
    operators: _containers.RepeatedScalarFieldContainer[str]
    parity: Parity
    kept_fp32: _containers.RepeatedCompositeFieldContainer[KeptNode]
    def __init__(self, file: _Optional[str] = ..., precision: _Optional[str] = ..., operators: _Optional[_Iterable[str]] = ..., parity: _Optional[_Union[Parity, _Mapping]] = ..., kept_fp32: _Optional[_Iterable[_Union[KeptNode, _Mapping]]] = ...) -> None: ...

class KeptNode(_message.Message):
    __slots__ = ("node", "operator", "reason")
    NODE_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    node: str
    operator: str
    reason: str
    def __init__(self, node: _Optional[str] = ..., operator: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Split(_message.Message):
    __slots__ = ("proposals", "regions", "nms_iou", "max_proposals")
    PROPOSALS_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    NMS_IOU_FIELD_NUMBER: _ClassVar[int]
    MAX_PROPOSALS_FIELD_NUMBER: _ClassVar[int]
    proposals: str
    regions: str
    nms_iou: float
    max_proposals: int
    def __init__(self, proposals: _Optional[str] = ..., regions: _Optional[str] = ..., nms_iou: _Optional[float] = ..., max_proposals: _Optional[int] = ...) -> None: ...

class DetectionRule(_message.Message):
    __slots__ = ("candidates", "score_floor", "nms_iou", "nms_class_wise", "max_detections", "min_box_edge_px", "score_comparison", "clip_before_nms")
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    SCORE_FLOOR_FIELD_NUMBER: _ClassVar[int]
    NMS_IOU_FIELD_NUMBER: _ClassVar[int]
    NMS_CLASS_WISE_FIELD_NUMBER: _ClassVar[int]
    MAX_DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    MIN_BOX_EDGE_PX_FIELD_NUMBER: _ClassVar[int]
    SCORE_COMPARISON_FIELD_NUMBER: _ClassVar[int]
    CLIP_BEFORE_NMS_FIELD_NUMBER: _ClassVar[int]
    candidates: int
    score_floor: float
    nms_iou: float
    nms_class_wise: bool
    max_detections: int
    min_box_edge_px: float
    score_comparison: Comparison
    clip_before_nms: bool
    def __init__(self, candidates: _Optional[int] = ..., score_floor: _Optional[float] = ..., nms_iou: _Optional[float] = ..., nms_class_wise: bool = ..., max_detections: _Optional[int] = ..., min_box_edge_px: _Optional[float] = ..., score_comparison: _Optional[_Union[Comparison, str]] = ..., clip_before_nms: bool = ...) -> None: ...

class Combination(_message.Message):
    __slots__ = ("rule", "probability_clip", "weights")
    RULE_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_CLIP_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    rule: CombinationRule
    probability_clip: float
    weights: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, rule: _Optional[_Union[CombinationRule, str]] = ..., probability_clip: _Optional[float] = ..., weights: _Optional[_Iterable[float]] = ...) -> None: ...

class DecisionRule(_message.Message):
    __slots__ = ("threshold", "comparison", "uncertain_from", "uncertain_to")
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    UNCERTAIN_FROM_FIELD_NUMBER: _ClassVar[int]
    UNCERTAIN_TO_FIELD_NUMBER: _ClassVar[int]
    threshold: float
    comparison: Comparison
    uncertain_from: float
    uncertain_to: float
    def __init__(self, threshold: _Optional[float] = ..., comparison: _Optional[_Union[Comparison, str]] = ..., uncertain_from: _Optional[float] = ..., uncertain_to: _Optional[float] = ...) -> None: ...

class FindingClass(_message.Message):
    __slots__ = ("name", "code_value", "code_scheme", "code_meaning")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CODE_VALUE_FIELD_NUMBER: _ClassVar[int]
    CODE_SCHEME_FIELD_NUMBER: _ClassVar[int]
    CODE_MEANING_FIELD_NUMBER: _ClassVar[int]
    name: str
    code_value: str
    code_scheme: str
    code_meaning: str
    def __init__(self, name: _Optional[str] = ..., code_value: _Optional[str] = ..., code_scheme: _Optional[str] = ..., code_meaning: _Optional[str] = ...) -> None: ...

class ReverseFusion(_message.Message):
    __slots__ = ("threshold", "no_box_score")
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    NO_BOX_SCORE_FIELD_NUMBER: _ClassVar[int]
    threshold: float
    no_box_score: float
    def __init__(self, threshold: _Optional[float] = ..., no_box_score: _Optional[float] = ...) -> None: ...

class Fusion(_message.Message):
    __slots__ = ("rule", "low_confidence_cutoff", "comparison", "reverse")
    RULE_FIELD_NUMBER: _ClassVar[int]
    LOW_CONFIDENCE_CUTOFF_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    REVERSE_FIELD_NUMBER: _ClassVar[int]
    rule: FusionRule
    low_confidence_cutoff: float
    comparison: Comparison
    reverse: ReverseFusion
    def __init__(self, rule: _Optional[_Union[FusionRule, str]] = ..., low_confidence_cutoff: _Optional[float] = ..., comparison: _Optional[_Union[Comparison, str]] = ..., reverse: _Optional[_Union[ReverseFusion, _Mapping]] = ...) -> None: ...

class GoldenSet(_message.Message):
    __slots__ = ("frames", "batch_sizes")
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZES_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[GoldenFrame]
    batch_sizes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, frames: _Optional[_Iterable[_Union[GoldenFrame, _Mapping]]] = ..., batch_sizes: _Optional[_Iterable[int]] = ...) -> None: ...

class GoldenFrame(_message.Message):
    __slots__ = ("name", "image", "photometric_interpretation", "bits_stored", "networks")
    class NetworksEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: GoldenCase
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[GoldenCase, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    PHOTOMETRIC_INTERPRETATION_FIELD_NUMBER: _ClassVar[int]
    BITS_STORED_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    name: str
    image: str
    photometric_interpretation: str
    bits_stored: int
    networks: _containers.MessageMap[str, GoldenCase]
    def __init__(self, name: _Optional[str] = ..., image: _Optional[str] = ..., photometric_interpretation: _Optional[str] = ..., bits_stored: _Optional[int] = ..., networks: _Optional[_Mapping[str, GoldenCase]] = ...) -> None: ...

class GoldenCase(_message.Message):
    __slots__ = ("input_sha256", "height", "width", "outputs")
    INPUT_SHA256_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    input_sha256: str
    height: int
    width: int
    outputs: str
    def __init__(self, input_sha256: _Optional[str] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., outputs: _Optional[str] = ...) -> None: ...

class BundleProvenance(_message.Message):
    __slots__ = ("created_at", "exporter_version", "preset", "recipe_sha256", "packages", "checkpoints", "revisions")
    class PackagesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPORTER_VERSION_FIELD_NUMBER: _ClassVar[int]
    PRESET_FIELD_NUMBER: _ClassVar[int]
    RECIPE_SHA256_FIELD_NUMBER: _ClassVar[int]
    PACKAGES_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    created_at: str
    exporter_version: str
    preset: str
    recipe_sha256: str
    packages: _containers.ScalarMap[str, str]
    checkpoints: _containers.RepeatedCompositeFieldContainer[CheckpointRecord]
    revisions: _containers.RepeatedCompositeFieldContainer[Revision]
    def __init__(self, created_at: _Optional[str] = ..., exporter_version: _Optional[str] = ..., preset: _Optional[str] = ..., recipe_sha256: _Optional[str] = ..., packages: _Optional[_Mapping[str, str]] = ..., checkpoints: _Optional[_Iterable[_Union[CheckpointRecord, _Mapping]]] = ..., revisions: _Optional[_Iterable[_Union[Revision, _Mapping]]] = ...) -> None: ...

class Revision(_message.Message):
    __slots__ = ("tool", "made_at", "of_sha256", "note")
    TOOL_FIELD_NUMBER: _ClassVar[int]
    MADE_AT_FIELD_NUMBER: _ClassVar[int]
    OF_SHA256_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    tool: str
    made_at: str
    of_sha256: str
    note: str
    def __init__(self, tool: _Optional[str] = ..., made_at: _Optional[str] = ..., of_sha256: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class CheckpointRecord(_message.Message):
    __slots__ = ("role", "member", "architecture", "style", "source", "sha256", "notes")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    STYLE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    role: str
    member: str
    architecture: str
    style: str
    source: str
    sha256: str
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, role: _Optional[str] = ..., member: _Optional[str] = ..., architecture: _Optional[str] = ..., style: _Optional[str] = ..., source: _Optional[str] = ..., sha256: _Optional[str] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...
