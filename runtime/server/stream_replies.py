"""The messages that answer the frames of one stream."""

from __future__ import annotations

from collections.abc import Callable

from spinert.proto import inference_pb2 as pb
from spinert.runtime.decide.study import StudyTally
from spinert.runtime.frame import Answer
from spinert.runtime.messages import Refusal, frame_error_from_refusal
from spinert.runtime.replies import (
    FrameNames,
    Identity,
    names_from_frame,
    result_from_answer,
    wire_study_from_summary,
)
from spinert.runtime.server.faults import refusal_from_exception
from spinert.runtime.server.ledger import Ticket

__all__ = ["Reply", "StreamReplies", "result_with_study"]

Reply = Answer | Refusal


class StreamReplies:
    """Builds each reply once, when its turn to be sent has come.

    Studies count the answers in the order in which they are built.
    """

    def __init__(self, identity: Callable[[], Identity]) -> None:
        """Say of each answer what `identity` returns at that moment."""
        self._identity = identity
        self._tally = StudyTally()
        self._names: dict[int, FrameNames] = {}

    def expect(self, ticket: Ticket, frame: pb.Frame) -> None:
        """Remember what a frame is called; its pixels are not kept."""
        self._names[ticket.number] = names_from_frame(frame)

    def message(self, ticket: Ticket, reply: Reply) -> pb.StreamReply:
        """Return the answer to the frame of `ticket`."""
        names = self._names.pop(ticket.number, FrameNames())
        if isinstance(reply, Refusal):
            return _frame_error(ticket, reply)
        try:
            result = result_with_study(reply, self._identity(), names, self._tally)
        except Exception as error:
            return _frame_error(ticket, refusal_from_exception(error))
        return pb.StreamReply(result=result)


def result_with_study(
    answer: Answer, identity: Identity, names: FrameNames, tally: StudyTally
) -> pb.Result:
    """Build a frame's reply and count it for its study, if it has one."""
    result = result_from_answer(answer, identity, names)
    study = tally.add(result.study_uid, names.frame_id, names.sequence, answer.verdict)
    if study is not None:
        result.study.CopyFrom(wire_study_from_summary(study))
    return result


def _frame_error(ticket: Ticket, refusal: Refusal) -> pb.StreamReply:
    return pb.StreamReply(
        frame_error=frame_error_from_refusal(
            refusal, frame_id=ticket.frame_id, sequence=ticket.sequence
        )
    )
