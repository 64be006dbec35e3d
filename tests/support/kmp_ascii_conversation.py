"""Holds a conversation without a line: what each step gets is written in the test."""

from __future__ import annotations

from collections.abc import Iterable

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.protocols.base import Conversation, Frame, PollResponse, Step

Outcome = Frame | MeterError | None


def hold(
    conversation: Conversation, outcomes: Iterable[Outcome]
) -> tuple[list[Step], PollResponse]:
    """The steps asked for, and the answer at the end; `outcomes` must be used up exactly."""
    steps = [next(conversation)]
    answer: PollResponse | None = None
    for outcome in outcomes:
        assert answer is None, "the conversation ended too early"
        try:
            if isinstance(outcome, MeterError):
                steps.append(conversation.throw(outcome))
            else:
                steps.append(conversation.send(outcome))
        except StopIteration as stop:
            answer = stop.value
    assert answer is not None, f"the conversation goes on: {steps}"
    return steps, answer
