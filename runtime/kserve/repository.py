"""Which models there are, and whether they may be used at the moment."""

from __future__ import annotations

from collections.abc import Mapping

from spinert.proto import open_inference_pb2 as oip
from spinert.runtime.errors import (
    ModelControlRefused,
    ModelUnknown,
    Reason,
    Unavailable,
)
from spinert.runtime.kserve.models import VERSION, Model

__all__ = ["Repository"]

_READY, _UNAVAILABLE = "READY", "UNAVAILABLE"


class Repository:
    """The models of a bundle; what is unloaded here is only not answered.

    Networks stay loaded: the pipeline and other clients need them.
    """

    def __init__(self, models: Mapping[str, Model], *, is_controlled: bool) -> None:
        """Start with all models loaded; clients may change that if `is_controlled`."""
        self._models = models
        self._is_controlled = is_controlled
        self._unloaded: set[str] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """All models, loaded or not."""
        return tuple(self._models)

    def find(self, name: str, version: str) -> Model:
        """Return a model, loaded or not.

        Raises:
            ModelUnknown: There is none, or no such version.
        """
        if name not in self._models:
            raise ModelUnknown(
                Reason.MODEL_UNKNOWN,
                "no model of this name; there are " + ", ".join(self._models),
            )
        if version not in ("", VERSION):
            raise ModelUnknown(
                Reason.MODEL_UNKNOWN,
                f"model {name!r} has only version {VERSION}; leave the version out",
            )
        return self._models[name]

    def usable(self, name: str, version: str) -> Model:
        """Return a model that is loaded.

        Raises:
            ModelUnknown: There is none, or no such version.
            Unavailable: MODEL_UNLOADED.
        """
        model = self.find(name, version)
        if name in self._unloaded:
            raise Unavailable(
                Reason.MODEL_UNLOADED,
                f"model {name!r} was unloaded by a client; load it first",
            )
        return model

    def index(
        self, request: oip.RepositoryIndexRequest, *, is_serving: bool
    ) -> oip.RepositoryIndexResponse:
        """List the models.

        Raises:
            ModelUnknown: Another repository is asked for.
        """
        _refuse_repository(request.repository_name)
        response = oip.RepositoryIndexResponse()
        for name in self._models:
            reason = "unloaded" if name in self._unloaded else ""
            if not is_serving:
                reason = "the server is starting or shutting down"
            if reason and request.ready:
                continue
            response.models.add(
                name=name,
                version=VERSION,
                state=_UNAVAILABLE if reason else _READY,
                reason=reason,
            )
        return response

    def load(self, request: oip.RepositoryModelLoadRequest) -> None:
        """Answer a model again; one that is loaded stays as it is.

        Raises:
            ModelControlRefused: Clients may not do that, or not with parameters.
            ModelUnknown: There is none.
        """
        self._refuse(request)
        self._unloaded.discard(request.model_name)

    def unload(self, request: oip.RepositoryModelUnloadRequest) -> None:
        """Refuse a model from now on; requests in flight are finished.

        Raises:
            ModelControlRefused: Clients may not do that, or not with parameters.
            ModelUnknown: There is none.
        """
        self._refuse(request)
        self._unloaded.add(request.model_name)

    def _refuse(
        self,
        request: oip.RepositoryModelLoadRequest | oip.RepositoryModelUnloadRequest,
    ) -> None:
        if not self._is_controlled:
            raise ModelControlRefused(
                Reason.MODEL_CONTROL_OFF,
                "models are not loaded and unloaded by clients here; an operator can "
                "allow it with kserve.model_control",
            )
        _refuse_repository(request.repository_name)
        self.find(request.model_name, "")
        # A client of Triton sends unload_dependents; nothing depends on a model here.
        if set(request.parameters) - {"unload_dependents"}:
            raise ModelControlRefused(
                Reason.MODEL_CONTROL_OFF,
                "a model is loaded as its bundle has it; leave the parameters out",
            )


def _refuse_repository(name: str) -> None:
    if name:
        raise ModelUnknown(
            Reason.MODEL_UNKNOWN,
            "there is one repository, the bundle; leave repository_name out",
        )
