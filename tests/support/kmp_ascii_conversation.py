"""Runs a conversation without a line; the test provides the outcome of each step."""

from __future__ import annotations

from collections.abc import Iterable

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.protocols.base import Conversation, Frame, PollResponse, Step

Outcome = Frame | MeterError | None


def run_conversation(
    conversation: Conversation, outcomes: Iterable[Outcome]
) -> tuple[list[Step], PollResponse]:
    """Return the steps and the final response. All `outcomes` must be used."""
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
