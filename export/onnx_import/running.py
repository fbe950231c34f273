"""Run an imported graph on the golden frames, in ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, numpy_helper

from spinert.export.errors import GraphError, RecipeError
from spinert.export.preprocess import NetworkFrame

__all__ = ["Arrays", "Runner", "check_answer", "check_batch", "check_weights"]

Arrays = Mapping[str, npt.NDArray[Any]]

_FLOATS: Final = frozenset(
    (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
)
_DAMAGED: Final = (
    "training diverged or the file is damaged: export an earlier checkpoint"
)


class Runner:
    """A model that is ready to run; owns its session."""

    def __init__(self, model: Any, name: str) -> None:
        """Load a model.

        Raises:
            GraphError: ONNX Runtime cannot run it.
        """
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.name = name
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # pybind classes without a common base
            message = "ONNX Runtime cannot load this graph; export it with opset 18"
            raise GraphError(f"{name}: {message}") from error
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._outputs = [value.name for value in self._session.get_outputs()]

    def outputs(self, frames: Sequence[NetworkFrame]) -> Arrays:
        """Return the outputs for frames of equal size, with the batch axis.

        Raises:
            GraphError: The graph does not take them.
        """
        values = {
            "image": np.stack([frame.image for frame in frames]),
            "image_size": np.stack([frame.size for frame in frames]),
        }
        feed = {name: values[name] for name in self._inputs}
        try:
            found = self._session.run(self._outputs, feed)
        except Exception as error:  # pybind classes without a common base
            height, width = frames[0].image.shape[1:]
            message = f"fails on {len(frames)} image(s) of {height} x {width}"
            advice = "export it with dynamic axes for batch, height and width"
            raise GraphError(f"{self.name}: {message}; {advice}") from error
        return dict(zip(self._outputs, found, strict=True))


def check_batch(runner: Runner, frame: NetworkFrame) -> None:
    """Check that a graph takes two frames at once.

    Raises:
        GraphError: Its batch size is fixed inside.
    """
    try:
        lengths = {len(v) for v in runner.outputs([frame, frame]).values()}
    except GraphError:
        lengths = set()
    if lengths != {2}:
        message = "takes one image at a time only"
        advice = "export it with a dynamic batch axis"
        raise GraphError(f"{runner.name}: {message}; {advice}")


def _weights(model: Any) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield every floating-point initializer with its name, one after the other."""
    sparse = (tensor.values for tensor in model.graph.sparse_initializer)
    for tensor in chain(model.graph.initializer, sparse):
        if tensor.data_type in _FLOATS:
            yield tensor.name, numpy_helper.to_array(tensor)


def check_weights(model: Any, name: str) -> None:
    """Check that no weight of a file is NaN; a mask may well be infinite.

    Raises:
        GraphError: One is; names it.
    """
    for tensor, values in _weights(model):
        if np.isnan(values).any():
            raise GraphError(f"{name}: NaN in initializer {tensor!r}; {_DAMAGED}")


def _cause(model: Any) -> str:
    """Say where numbers that are not finite can come from."""
    infinite = (tensor for tensor, values in _weights(model) if np.isinf(values).any())
    first = next(infinite, None)
    if first is None:
        return "check mean and std in the recipe"
    return f"initializer {first.partition('/')[2]!r} is not either; {_DAMAGED}"


def check_answer(outputs: Arrays, model: Any, name: str, classes: int) -> None:
    """Check what an imported graph answers for a golden frame.

    Args:
        outputs: The answer.
        model: What gave it, a `JoinedGraph`'s.
        name: Of its files, for messages.
        classes: Of the bundle.

    Raises:
        GraphError: A number is not finite.
        RecipeError: Scores are no probabilities, or labels name no class.
    """
    for output, values in outputs.items():
        if not np.isfinite(values).all():
            message = f"{output} are not finite on a golden frame"
            raise GraphError(f"{name}: {message}; {_cause(model)}")
    scores, labels = outputs.get("scores"), outputs.get("labels")
    if scores is not None and not ((scores >= 0) & (scores <= 1)).all():
        message = "scores leave 0 to 1 on a golden frame"
        raise RecipeError(f'{name}: {message}; are they score_kind = "logits"?')
    if labels is not None and not ((labels >= 0) & (labels < classes)).all():
        message = f"labels from {labels.min()} to {labels.max()} for {classes} classes"
        advice = "check label_base, background and [bundle] classes"
        raise RecipeError(f"{name}: {message}; {advice}")
