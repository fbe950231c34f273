"""Send radiographs to a SpineRT server and get verdicts back.

>>> from spinert.runtime.client import Client, Frame
>>> with Client("127.0.0.1:50051") as client:  # doctest: +SKIP
...     result = client.analyze(Frame.from_path("spine.dcm"))
...     print(result.verdict.abnormal_probability)

Answers are the messages of proto/inference.proto as they are: typed, printable,
and JSON with google.protobuf.json_format. Enums are compared with Decision and
Assessment (`result.verdict.decision == Decision.DECISION_ABNORMAL`) and named by
`Decision.Name(...)`. Research use only: not a medical device.

This is the whole public interface; needs the base package only.
"""

from spinert.proto.inference_pb2 import Assessment, Decision, Result, ServerInfo
from spinert.runtime.client.aio import AsyncClient
from spinert.runtime.client.errors import FrameRefusal, RequestFailed
from spinert.runtime.client.frames import Frame, FrameOptions, PixelFormat
from spinert.runtime.client.shared import SharedMemory
from spinert.runtime.client.sync import Client
from spinert.runtime.frame import Priority
from spinert.runtime.image import (
    Photometric,
    Rescale,
    Spacing,
    VoiFunction,
    Window,
)
from spinert.runtime.verdict import Output

__all__ = [
    "Assessment",
    "AsyncClient",
    "Client",
    "Decision",
    "Frame",
    "FrameOptions",
    "FrameRefusal",
    "Output",
    "Photometric",
    "PixelFormat",
    "Priority",
    "RequestFailed",
    "Rescale",
    "Result",
    "ServerInfo",
    "SharedMemory",
    "Spacing",
    "VoiFunction",
    "Window",
]
