from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_ROUTINE: _ClassVar[Priority]
    PRIORITY_STAT: _ClassVar[Priority]

class PhotometricInterpretation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PHOTOMETRIC_INTERPRETATION_UNSPECIFIED: _ClassVar[PhotometricInterpretation]
    MONOCHROME1: _ClassVar[PhotometricInterpretation]
    MONOCHROME2: _ClassVar[PhotometricInterpretation]

class VoiLutFunction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VOI_LUT_FUNCTION_UNSPECIFIED: _ClassVar[VoiLutFunction]
    LINEAR: _ClassVar[VoiLutFunction]
    LINEAR_EXACT: _ClassVar[VoiLutFunction]
    SIGMOID: _ClassVar[VoiLutFunction]

class Output(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_UNSPECIFIED: _ClassVar[Output]
    OUTPUT_CLASSIFICATION: _ClassVar[Output]
    OUTPUT_FINDINGS: _ClassVar[Output]
    OUTPUT_SUPPRESSED: _ClassVar[Output]

class Order(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ORDER_UNSPECIFIED: _ClassVar[Order]
    ORDER_IN_ORDER: _ClassVar[Order]
    ORDER_AS_COMPLETED: _ClassVar[Order]

class Decision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECISION_UNSPECIFIED: _ClassVar[Decision]
    DECISION_NORMAL: _ClassVar[Decision]
    DECISION_ABNORMAL: _ClassVar[Decision]

class Assessment(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ASSESSMENT_UNSPECIFIED: _ClassVar[Assessment]
    ASSESSMENT_NORMAL: _ClassVar[Assessment]
    ASSESSMENT_ABNORMAL: _ClassVar[Assessment]
    ASSESSMENT_UNCERTAIN: _ClassVar[Assessment]

class QualityNote(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUALITY_NOTE_UNSPECIFIED: _ClassVar[QualityNote]
    QUALITY_CONSTANT: _ClassVar[QualityNote]
    QUALITY_LOW_CONTRAST: _ClassVar[QualityNote]
    QUALITY_CLIPPED: _ClassVar[QualityNote]
    QUALITY_UNEXPECTED_BODY_PART: _ClassVar[QualityNote]
    QUALITY_SPACING_MISSING: _ClassVar[QualityNote]
    QUALITY_SPACING_NOT_SQUARE: _ClassVar[QualityNote]
    QUALITY_LOSSY_COMPRESSION: _ClassVar[QualityNote]
    QUALITY_TINTED: _ClassVar[QualityNote]
    QUALITY_SMALL: _ClassVar[QualityNote]

class ReleaseReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RELEASE_REASON_UNSPECIFIED: _ClassVar[ReleaseReason]
    RELEASE_FULL: _ClassVar[ReleaseReason]
    RELEASE_DELAY: _ClassVar[ReleaseReason]
    RELEASE_DRAIN: _ClassVar[ReleaseReason]
    RELEASE_DEADLINE: _ClassVar[ReleaseReason]
    RELEASE_NO_GAIN: _ClassVar[ReleaseReason]
PRIORITY_UNSPECIFIED: Priority
PRIORITY_ROUTINE: Priority
PRIORITY_STAT: Priority
PHOTOMETRIC_INTERPRETATION_UNSPECIFIED: PhotometricInterpretation
MONOCHROME1: PhotometricInterpretation
MONOCHROME2: PhotometricInterpretation
VOI_LUT_FUNCTION_UNSPECIFIED: VoiLutFunction
LINEAR: VoiLutFunction
LINEAR_EXACT: VoiLutFunction
SIGMOID: VoiLutFunction
OUTPUT_UNSPECIFIED: Output
OUTPUT_CLASSIFICATION: Output
OUTPUT_FINDINGS: Output
OUTPUT_SUPPRESSED: Output
ORDER_UNSPECIFIED: Order
ORDER_IN_ORDER: Order
ORDER_AS_COMPLETED: Order
DECISION_UNSPECIFIED: Decision
DECISION_NORMAL: Decision
DECISION_ABNORMAL: Decision
ASSESSMENT_UNSPECIFIED: Assessment
ASSESSMENT_NORMAL: Assessment
ASSESSMENT_ABNORMAL: Assessment
ASSESSMENT_UNCERTAIN: Assessment
QUALITY_NOTE_UNSPECIFIED: QualityNote
QUALITY_CONSTANT: QualityNote
QUALITY_LOW_CONTRAST: QualityNote
QUALITY_CLIPPED: QualityNote
QUALITY_UNEXPECTED_BODY_PART: QualityNote
QUALITY_SPACING_MISSING: QualityNote
QUALITY_SPACING_NOT_SQUARE: QualityNote
QUALITY_LOSSY_COMPRESSION: QualityNote
QUALITY_TINTED: QualityNote
QUALITY_SMALL: QualityNote
RELEASE_REASON_UNSPECIFIED: ReleaseReason
RELEASE_FULL: ReleaseReason
RELEASE_DELAY: ReleaseReason
RELEASE_DRAIN: ReleaseReason
RELEASE_DEADLINE: ReleaseReason
RELEASE_NO_GAIN: ReleaseReason

class Window(_message.Message):
    __slots__ = ("window_center", "window_width", "function")
    WINDOW_CENTER_FIELD_NUMBER: _ClassVar[int]
    WINDOW_WIDTH_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    window_center: float
    window_width: float
    function: VoiLutFunction
    def __init__(self, window_center: _Optional[float] = ..., window_width: _Optional[float] = ..., function: _Optional[_Union[VoiLutFunction, str]] = ...) -> None: ...

class Rescale(_message.Message):
    __slots__ = ("slope", "intercept")
    SLOPE_FIELD_NUMBER: _ClassVar[int]
    INTERCEPT_FIELD_NUMBER: _ClassVar[int]
    slope: float
    intercept: float
    def __init__(self, slope: _Optional[float] = ..., intercept: _Optional[float] = ...) -> None: ...

class Spacing(_message.Message):
    __slots__ = ("row_mm", "column_mm")
    ROW_MM_FIELD_NUMBER: _ClassVar[int]
    COLUMN_MM_FIELD_NUMBER: _ClassVar[int]
    row_mm: float
    column_mm: float
    def __init__(self, row_mm: _Optional[float] = ..., column_mm: _Optional[float] = ...) -> None: ...

class RawImage(_message.Message):
    __slots__ = ("rows", "columns", "bits_stored", "is_signed", "photometric_interpretation", "window", "rescale", "spacing", "pixels")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    BITS_STORED_FIELD_NUMBER: _ClassVar[int]
    IS_SIGNED_FIELD_NUMBER: _ClassVar[int]
    PHOTOMETRIC_INTERPRETATION_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    RESCALE_FIELD_NUMBER: _ClassVar[int]
    SPACING_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    rows: int
    columns: int
    bits_stored: int
    is_signed: bool
    photometric_interpretation: PhotometricInterpretation
    window: Window
    rescale: Rescale
    spacing: Spacing
    pixels: bytes
    def __init__(self, rows: _Optional[int] = ..., columns: _Optional[int] = ..., bits_stored: _Optional[int] = ..., is_signed: bool = ..., photometric_interpretation: _Optional[_Union[PhotometricInterpretation, str]] = ..., window: _Optional[_Union[Window, _Mapping]] = ..., rescale: _Optional[_Union[Rescale, _Mapping]] = ..., spacing: _Optional[_Union[Spacing, _Mapping]] = ..., pixels: _Optional[bytes] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("frame_id", "sequence", "dicom", "raw", "encoded", "study_uid", "series_uid", "priority", "outputs", "timeout_ms", "shared")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DICOM_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    STUDY_UID_FIELD_NUMBER: _ClassVar[int]
    SERIES_UID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    frame_id: str
    sequence: int
    dicom: bytes
    raw: RawImage
    encoded: bytes
    study_uid: str
    series_uid: str
    priority: Priority
    outputs: _containers.RepeatedScalarFieldContainer[Output]
    timeout_ms: int
    shared: SharedBytes
    def __init__(self, frame_id: _Optional[str] = ..., sequence: _Optional[int] = ..., dicom: _Optional[bytes] = ..., raw: _Optional[_Union[RawImage, _Mapping]] = ..., encoded: _Optional[bytes] = ..., study_uid: _Optional[str] = ..., series_uid: _Optional[str] = ..., priority: _Optional[_Union[Priority, str]] = ..., outputs: _Optional[_Iterable[_Union[Output, str]]] = ..., timeout_ms: _Optional[int] = ..., shared: _Optional[_Union[SharedBytes, _Mapping]] = ...) -> None: ...

class SharedBytes(_message.Message):
    __slots__ = ("region", "offset", "length")
    REGION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    region: str
    offset: int
    length: int
    def __init__(self, region: _Optional[str] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class RegisterRegionRequest(_message.Message):
    __slots__ = ("region", "key", "offset", "length")
    REGION_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    region: str
    key: str
    offset: int
    length: int
    def __init__(self, region: _Optional[str] = ..., key: _Optional[str] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class RegisterRegionReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UnregisterRegionRequest(_message.Message):
    __slots__ = ("region",)
    REGION_FIELD_NUMBER: _ClassVar[int]
    region: str
    def __init__(self, region: _Optional[str] = ...) -> None: ...

class UnregisterRegionReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AnalyzeRequest(_message.Message):
    __slots__ = ("frame", "device")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    frame: Frame
    device: str
    def __init__(self, frame: _Optional[_Union[Frame, _Mapping]] = ..., device: _Optional[str] = ...) -> None: ...

class AnalyzeReply(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: Result
    def __init__(self, result: _Optional[_Union[Result, _Mapping]] = ...) -> None: ...

class StreamRequest(_message.Message):
    __slots__ = ("open", "frame", "cancel", "ack")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    open: Open
    frame: Frame
    cancel: Cancel
    ack: Ack
    def __init__(self, open: _Optional[_Union[Open, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ...) -> None: ...

class StreamReply(_message.Message):
    __slots__ = ("opened", "result", "frame_error", "credit")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FRAME_ERROR_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    opened: Opened
    result: Result
    frame_error: FrameError
    credit: Credit
    def __init__(self, opened: _Optional[_Union[Opened, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., frame_error: _Optional[_Union[FrameError, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ...) -> None: ...

class Open(_message.Message):
    __slots__ = ("device", "order", "resume_token", "latest_frame_wins", "priority", "resumable")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LATEST_FRAME_WINS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    RESUMABLE_FIELD_NUMBER: _ClassVar[int]
    device: str
    order: Order
    resume_token: str
    latest_frame_wins: bool
    priority: Priority
    resumable: bool
    def __init__(self, device: _Optional[str] = ..., order: _Optional[_Union[Order, str]] = ..., resume_token: _Optional[str] = ..., latest_frame_wins: bool = ..., priority: _Optional[_Union[Priority, str]] = ..., resumable: bool = ...) -> None: ...

class Opened(_message.Message):
    __slots__ = ("resume_token", "limits", "received_sequence", "resume_window_ms")
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESUME_WINDOW_MS_FIELD_NUMBER: _ClassVar[int]
    resume_token: str
    limits: Limits
    received_sequence: int
    resume_window_ms: int
    def __init__(self, resume_token: _Optional[str] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., received_sequence: _Optional[int] = ..., resume_window_ms: _Optional[int] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_frames_in_flight", "max_message_bytes", "max_rows", "max_columns", "min_rows", "min_columns")
    MAX_FRAMES_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_ROWS_FIELD_NUMBER: _ClassVar[int]
    MAX_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    MIN_ROWS_FIELD_NUMBER: _ClassVar[int]
    MIN_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    max_frames_in_flight: int
    max_message_bytes: int
    max_rows: int
    max_columns: int
    min_rows: int
    min_columns: int
    def __init__(self, max_frames_in_flight: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_rows: _Optional[int] = ..., max_columns: _Optional[int] = ..., min_rows: _Optional[int] = ..., min_columns: _Optional[int] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("frames",)
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    frames: int
    def __init__(self, frames: _Optional[int] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("frame_id",)
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    frame_id: str
    def __init__(self, frame_id: _Optional[str] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class FrameError(_message.Message):
    __slots__ = ("frame_id", "sequence", "code", "reason", "message", "retry_after_ms")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    frame_id: str
    sequence: int
    code: int
    reason: str
    message: str
    retry_after_ms: int
    def __init__(self, frame_id: _Optional[str] = ..., sequence: _Optional[int] = ..., code: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("frame_id", "sequence", "verdict", "study", "receipt", "provenance", "study_uid", "series_uid")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    STUDY_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    STUDY_UID_FIELD_NUMBER: _ClassVar[int]
    SERIES_UID_FIELD_NUMBER: _ClassVar[int]
    frame_id: str
    sequence: int
    verdict: Verdict
    study: StudyVerdict
    receipt: Receipt
    provenance: Provenance
    study_uid: str
    series_uid: str
    def __init__(self, frame_id: _Optional[str] = ..., sequence: _Optional[int] = ..., verdict: _Optional[_Union[Verdict, _Mapping]] = ..., study: _Optional[_Union[StudyVerdict, _Mapping]] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ..., study_uid: _Optional[str] = ..., series_uid: _Optional[str] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("name", "probability", "logit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    LOGIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    probability: float
    logit: float
    def __init__(self, name: _Optional[str] = ..., probability: _Optional[float] = ..., logit: _Optional[float] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("x_min", "y_min", "x_max", "y_max")
    X_MIN_FIELD_NUMBER: _ClassVar[int]
    Y_MIN_FIELD_NUMBER: _ClassVar[int]
    X_MAX_FIELD_NUMBER: _ClassVar[int]
    Y_MAX_FIELD_NUMBER: _ClassVar[int]
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    def __init__(self, x_min: _Optional[float] = ..., y_min: _Optional[float] = ..., x_max: _Optional[float] = ..., y_max: _Optional[float] = ...) -> None: ...

class Code(_message.Message):
    __slots__ = ("value", "scheme", "meaning")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    MEANING_FIELD_NUMBER: _ClassVar[int]
    value: str
    scheme: str
    meaning: str
    def __init__(self, value: _Optional[str] = ..., scheme: _Optional[str] = ..., meaning: _Optional[str] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("class_index", "class_name", "code", "score", "box", "box_mm")
    CLASS_INDEX_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    BOX_MM_FIELD_NUMBER: _ClassVar[int]
    class_index: int
    class_name: str
    code: Code
    score: float
    box: Box
    box_mm: Box
    def __init__(self, class_index: _Optional[int] = ..., class_name: _Optional[str] = ..., code: _Optional[_Union[Code, _Mapping]] = ..., score: _Optional[float] = ..., box: _Optional[_Union[Box, _Mapping]] = ..., box_mm: _Optional[_Union[Box, _Mapping]] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("abnormal_probability", "members", "decision", "threshold", "assessment", "findings", "suppressed", "quality", "reverse_fusion_score", "rows", "columns")
    ABNORMAL_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    ASSESSMENT_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSED_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    REVERSE_FUSION_SCORE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    abnormal_probability: float
    members: _containers.RepeatedCompositeFieldContainer[Member]
    decision: Decision
    threshold: float
    assessment: Assessment
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    suppressed: _containers.RepeatedCompositeFieldContainer[Finding]
    quality: _containers.RepeatedScalarFieldContainer[QualityNote]
    reverse_fusion_score: float
    rows: int
    columns: int
    def __init__(self, abnormal_probability: _Optional[float] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., decision: _Optional[_Union[Decision, str]] = ..., threshold: _Optional[float] = ..., assessment: _Optional[_Union[Assessment, str]] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., suppressed: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., quality: _Optional[_Iterable[_Union[QualityNote, str]]] = ..., reverse_fusion_score: _Optional[float] = ..., rows: _Optional[int] = ..., columns: _Optional[int] = ...) -> None: ...

class StudyVerdict(_message.Message):
    __slots__ = ("study_uid", "frames", "worst_frame_id", "worst_sequence", "abnormal_probability", "decision", "assessment")
    STUDY_UID_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    WORST_FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    WORST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ABNORMAL_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    ASSESSMENT_FIELD_NUMBER: _ClassVar[int]
    study_uid: str
    frames: int
    worst_frame_id: str
    worst_sequence: int
    abnormal_probability: float
    decision: Decision
    assessment: Assessment
    def __init__(self, study_uid: _Optional[str] = ..., frames: _Optional[int] = ..., worst_frame_id: _Optional[str] = ..., worst_sequence: _Optional[int] = ..., abnormal_probability: _Optional[float] = ..., decision: _Optional[_Union[Decision, str]] = ..., assessment: _Optional[_Union[Assessment, str]] = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("name", "start_ms", "duration_ms")
    NAME_FIELD_NUMBER: _ClassVar[int]
    START_MS_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    name: str
    start_ms: float
    duration_ms: float
    def __init__(self, name: _Optional[str] = ..., start_ms: _Optional[float] = ..., duration_ms: _Optional[float] = ...) -> None: ...

class BatchRecord(_message.Message):
    __slots__ = ("network", "size", "slot", "height", "width", "reason")
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    network: str
    size: int
    slot: int
    height: int
    width: int
    reason: ReleaseReason
    def __init__(self, network: _Optional[str] = ..., size: _Optional[int] = ..., slot: _Optional[int] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., reason: _Optional[_Union[ReleaseReason, str]] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("stages", "batches", "total_ms")
    STAGES_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    stages: _containers.RepeatedCompositeFieldContainer[Stage]
    batches: _containers.RepeatedCompositeFieldContainer[BatchRecord]
    total_ms: float
    def __init__(self, stages: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ..., batches: _Optional[_Iterable[_Union[BatchRecord, _Mapping]]] = ..., total_ms: _Optional[float] = ...) -> None: ...

class NetworkRun(_message.Message):
    __slots__ = ("role", "backend", "precision", "engine_key", "degraded", "recomputed")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    ENGINE_KEY_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    RECOMPUTED_FIELD_NUMBER: _ClassVar[int]
    role: str
    backend: str
    precision: str
    engine_key: str
    degraded: bool
    recomputed: bool
    def __init__(self, role: _Optional[str] = ..., backend: _Optional[str] = ..., precision: _Optional[str] = ..., engine_key: _Optional[str] = ..., degraded: bool = ..., recomputed: bool = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ("bundle_name", "bundle_version", "bundle_sha256", "backend", "precision", "engine_key", "preprocessing", "input_sha256", "runtime_version", "notice", "degraded", "networks")
    BUNDLE_NAME_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_SHA256_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    ENGINE_KEY_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    INPUT_SHA256_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_VERSION_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    bundle_name: str
    bundle_version: str
    bundle_sha256: str
    backend: str
    precision: str
    engine_key: str
    preprocessing: str
    input_sha256: str
    runtime_version: str
    notice: str
    degraded: bool
    networks: _containers.RepeatedCompositeFieldContainer[NetworkRun]
    def __init__(self, bundle_name: _Optional[str] = ..., bundle_version: _Optional[str] = ..., bundle_sha256: _Optional[str] = ..., backend: _Optional[str] = ..., precision: _Optional[str] = ..., engine_key: _Optional[str] = ..., preprocessing: _Optional[str] = ..., input_sha256: _Optional[str] = ..., runtime_version: _Optional[str] = ..., notice: _Optional[str] = ..., degraded: bool = ..., networks: _Optional[_Iterable[_Union[NetworkRun, _Mapping]]] = ...) -> None: ...

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NetworkInfo(_message.Message):
    __slots__ = ("role", "architecture", "members")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    role: str
    architecture: str
    members: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, role: _Optional[str] = ..., architecture: _Optional[str] = ..., members: _Optional[_Iterable[str]] = ...) -> None: ...

class ServerInfo(_message.Message):
    __slots__ = ("runtime_version", "bundle_name", "bundle_version", "bundle_sha256", "notice", "backend", "precision", "networks", "class_names", "limits", "uptime_s", "disclaimer", "degraded", "degraded_reason", "constancy")
    RUNTIME_VERSION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_NAME_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_SHA256_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    DISCLAIMER_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_REASON_FIELD_NUMBER: _ClassVar[int]
    CONSTANCY_FIELD_NUMBER: _ClassVar[int]
    runtime_version: str
    bundle_name: str
    bundle_version: str
    bundle_sha256: str
    notice: str
    backend: str
    precision: str
    networks: _containers.RepeatedCompositeFieldContainer[NetworkInfo]
    class_names: _containers.RepeatedScalarFieldContainer[str]
    limits: Limits
    uptime_s: float
    disclaimer: str
    degraded: bool
    degraded_reason: str
    constancy: Constancy
    def __init__(self, runtime_version: _Optional[str] = ..., bundle_name: _Optional[str] = ..., bundle_version: _Optional[str] = ..., bundle_sha256: _Optional[str] = ..., notice: _Optional[str] = ..., backend: _Optional[str] = ..., precision: _Optional[str] = ..., networks: _Optional[_Iterable[_Union[NetworkInfo, _Mapping]]] = ..., class_names: _Optional[_Iterable[str]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., uptime_s: _Optional[float] = ..., disclaimer: _Optional[str] = ..., degraded: bool = ..., degraded_reason: _Optional[str] = ..., constancy: _Optional[_Union[Constancy, _Mapping]] = ...) -> None: ...

class Constancy(_message.Message):
    __slots__ = ("seed", "long_edge_px", "phantom_version", "score_tolerance", "box_iou_min", "finding_floor", "latency_limit_s", "cases", "measured_on")
    SEED_FIELD_NUMBER: _ClassVar[int]
    LONG_EDGE_PX_FIELD_NUMBER: _ClassVar[int]
    PHANTOM_VERSION_FIELD_NUMBER: _ClassVar[int]
    SCORE_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    BOX_IOU_MIN_FIELD_NUMBER: _ClassVar[int]
    FINDING_FLOOR_FIELD_NUMBER: _ClassVar[int]
    LATENCY_LIMIT_S_FIELD_NUMBER: _ClassVar[int]
    CASES_FIELD_NUMBER: _ClassVar[int]
    MEASURED_ON_FIELD_NUMBER: _ClassVar[int]
    seed: int
    long_edge_px: int
    phantom_version: str
    score_tolerance: float
    box_iou_min: float
    finding_floor: float
    latency_limit_s: float
    cases: _containers.RepeatedCompositeFieldContainer[ConstancyCase]
    measured_on: str
    def __init__(self, seed: _Optional[int] = ..., long_edge_px: _Optional[int] = ..., phantom_version: _Optional[str] = ..., score_tolerance: _Optional[float] = ..., box_iou_min: _Optional[float] = ..., finding_floor: _Optional[float] = ..., latency_limit_s: _Optional[float] = ..., cases: _Optional[_Iterable[_Union[ConstancyCase, _Mapping]]] = ..., measured_on: _Optional[str] = ...) -> None: ...

class ConstancyCase(_message.Message):
    __slots__ = ("index", "pixels_sha256", "abnormal_probability", "members", "decision", "findings")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PIXELS_SHA256_FIELD_NUMBER: _ClassVar[int]
    ABNORMAL_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    index: int
    pixels_sha256: str
    abnormal_probability: float
    members: _containers.RepeatedCompositeFieldContainer[Member]
    decision: Decision
    findings: _containers.RepeatedCompositeFieldContainer[ConstancyFinding]
    def __init__(self, index: _Optional[int] = ..., pixels_sha256: _Optional[str] = ..., abnormal_probability: _Optional[float] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., decision: _Optional[_Union[Decision, str]] = ..., findings: _Optional[_Iterable[_Union[ConstancyFinding, _Mapping]]] = ...) -> None: ...

class ConstancyFinding(_message.Message):
    __slots__ = ("class_name", "score", "box")
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    class_name: str
    score: float
    box: Box
    def __init__(self, class_name: _Optional[str] = ..., score: _Optional[float] = ..., box: _Optional[_Union[Box, _Mapping]] = ...) -> None: ...
