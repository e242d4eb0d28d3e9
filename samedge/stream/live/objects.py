"""What is asked about a frame, and what becomes of the answer: the objects of a live stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.drawing.colours import colour_of
from samedge.errors import PromptError
from samedge.families import Family
from samedge.files.limits import OBJECT_POINTS
from samedge.prompts.file import MAX_OBJECT
from samedge.prompts.gate import GatedTracker, GateSettings, Question, Verdict
from samedge.prompts.prompt import Prompt
from samedge.sources.frame import Box, Frame
from samedge.stream.classes import default_classes, number_of
from samedge.stream.live.controls import (
    MAX_NAME,
    MAX_OBJECTS,
    Click,
    Command,
    Drag,
    Points,
    Remove,
    Rename,
)
from samedge.stream.live.item import LiveObject, Status, measured
from samedge.stream.segmenting import Answer

_STATUS = {
    Verdict.GOOD: Status.FOUND,
    Verdict.DOUBTFUL: Status.DOUBTFUL,
    Verdict.LOST: Status.LOST,
}


_NOTHING = Question(np.zeros((0, 2)), np.zeros(0, np.int64))


@dataclass(eq=False)
class _Object:
    number: int
    name: str
    question: Question
    tracker: GatedTracker | None = None
    is_lost: bool = False

    def ask(self) -> Question:
        return self.question if self.tracker is None else self.tracker.ask()


@dataclass(frozen=True, eq=False)
class Group:
    """Objects whose prompts are of one kind, so that one call answers them.

    Attributes:
        prompt: theirs, with their numbers.
        logits: float32 `[N, L, L]`, mask prompts, or None.
    """

    prompt: Prompt
    logits: NDArray[np.float32] | None = None

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `Session.predict`; what is not asked is left out."""
        arguments = {**self.prompt.arguments(), "mask": self.logits}
        return {name: value for name, value in arguments.items() if value is not None}


class Objects:
    """The objects of a stream: what users said of them, and where they are now.

    Args:
        family: of the model.
        track: prompts follow their objects.
        gate: of the tracking.
    """

    def __init__(self, family: Family, track: bool, gate: GateSettings) -> None:
        self._family, self._track, self._gate = family, track, gate
        self._objects: dict[int, _Object] = {}
        self._unseen: list[_Object] = []  # not asked: prompted where the network sees nothing
        self._next = 1

    @property
    def is_waiting(self) -> bool:
        """There is nothing to ask: the model wants a prompt, and there is none."""
        return bool(self._family.prompts) and not self._objects

    def apply(self, command: Command, frame: Frame) -> None:
        """Take in what a user said.

        Raises:
            PromptError: it does not fit the frame, the family or the objects; nothing has changed.
        """
        if isinstance(command, Click):
            self._click(command, frame)
        elif isinstance(command, Drag):
            self._need("box")
            box = np.array([command.x0, command.y0, command.x1, command.y1], np.float64)
            question = Question(np.zeros((0, 2)), np.zeros(0, np.int64), box)
            _check_inside(question, frame)
            self._ask_anew(self._get(command.object) or self._make(), question)
        elif isinstance(command, Points):
            self._set_points(command, frame)
        elif isinstance(command, Remove):
            if command.object == 0:
                self.forget()
            elif self._objects.pop(command.object, None) is None:
                raise _no_object(command.object)
        elif isinstance(command, Rename):
            found = self._get(command.object)
            if found is None:
                raise _no_object(command.object)
            found.name = command.name.strip()[:MAX_NAME]

    def lose(self, reason: str) -> None:
        """Another scene or size: tracked objects are lost until they are prompted again."""
        for one in self._objects.values():
            if one.tracker is not None:
                one.tracker.lose(reason)

    def forget(self) -> None:
        """The frames are others (another size): no prompt of before means anything in them."""
        self._objects.clear()
        self._next = 1

    def groups(self, area: Box) -> list[Group]:
        """What to ask of the next frame; objects that were prompted outside of `area`, the part
        that the network sees, are not asked: they are lost."""
        self._unseen = []
        if not self._family.prompts:
            return [Group(Prompt())]
        kinds: dict[tuple[bool, bool], list[tuple[int, Question]]] = {}
        for number, one in self._objects.items():
            question = _within(one.ask(), area)
            if question is None:
                self._unseen.append(one)
                continue
            kind = question.box is not None, question.logits is not None
            kinds.setdefault(kind, []).append((number, question))
        return [_group(asked) for asked in kinds.values()]

    def answer(
        self,
        frame: Frame,
        clock_s: float,
        area: Box,
        answers: Sequence[tuple[Group, Answer]],
    ) -> list[LiveObject]:
        """Judge the masks and keep what the next question needs.

        Args:
            frame: that they are of.
            clock_s: when it was captured: the only clock that tracking knows.
            area: what the network saw, (x0, y0, x1, y1).
            answers: to each group.
        """
        found = [self._lost_outside(one) for one in self._unseen]
        if self._family.classes:
            return found + [one for group, a in answers for one in self._classes(frame, group, a)]
        for group, result in answers:
            for place in range(group.prompt.objects):
                found.append(self._judged(frame, clock_s, area, group, place, result))
        return sorted(found, key=lambda one: one.number)

    def waiting(self) -> list[LiveObject]:
        """The objects of a frame that was not answered: without masks."""
        return [
            LiveObject(one.number, one.name, colour_of(one.number - 1), Status.WAITING)
            for one in self._objects.values()
        ]

    def _lost_outside(self, one: _Object) -> LiveObject:
        one.is_lost = True
        reason = "it was prompted outside of the part of the frame that the network sees"
        colour = colour_of(one.number - 1)
        return LiveObject(one.number, one.name, colour, Status.LOST, reason=reason)

    def _judged(
        self,
        frame: Frame,
        clock_s: float,
        area: Box,
        group: Group,
        place: int,
        result: Answer,
    ) -> LiveObject:
        best, number = result.best(place), group.prompt.number(place)
        mask, score = result.masks[best], float(result.scores[best])
        logits = result.low_res_logits[best]
        one = self._objects.get(number)
        status, reason = Status.FOUND, ""
        if one is not None and one.tracker is not None:
            status = _STATUS[one.tracker.update(mask, score, logits, clock_s, area)]
            reason = one.tracker.reason if status is not Status.FOUND else ""
        elif not mask.any():
            status, reason = Status.LOST, "the mask is empty"
        if one is not None:
            one.is_lost = status is Status.LOST
        name = one.name if one is not None else "object"
        prompt = group.prompt.to_json(place)
        colour = colour_of(number - 1)
        if status is Status.LOST:
            return LiveObject(number, name, colour, status, reason=reason, prompt=prompt)
        pixels, mm2 = measured(frame, mask)
        return LiveObject(
            number, name, colour, status, mask, score, pixels, mm2, reason, prompt, logits
        )

    def _classes(self, frame: Frame, group: Group, result: Answer) -> list[LiveObject]:
        """One object per class that the answer shows, the background aside."""
        family, exclusive = self._family, result.class_map is not None
        prompt = group.prompt.to_json(0)
        found = []
        for k, index in enumerate(int(i) for i in result.class_index):
            if index not in default_classes(family) or int(result.object_index[k]) != 0:
                continue
            number, mask = number_of(index, exclusive), result.masks[k]
            status = Status.FOUND if mask.any() else Status.LOST
            pixels, mm2 = measured(frame, mask)
            found.append(
                LiveObject(
                    number,
                    family.classes[index],
                    colour_of(number - 1),
                    status,
                    mask if mask.any() else None,
                    float(result.scores[k]),
                    pixels,
                    mm2,
                    "" if mask.any() else "nothing of it is seen",
                    prompt,
                    result.low_res_logits[k],
                )
            )
        return found

    def _click(self, click: Click, frame: Frame) -> None:
        self._need("point")
        new = Question(np.array([[click.x, click.y]]), np.array([int(click.inside)], np.int64))
        _check_inside(new, frame)
        one = self._get(click.object)
        if one is None or click.fresh or one.is_lost:  # of a lost object no point goes on
            if not click.inside:
                raise PromptError("a point outside an object needs one inside it first")
            self._ask_anew(one or self._make(), new)
            return
        before = one.ask()
        OBJECT_POINTS.check(len(before.points) + 1, f"object {one.number}", PromptError)
        question = Question(
            np.concatenate([before.points, new.points]),
            np.concatenate([before.labels, new.labels]),
            before.box,
        )
        self._ask_anew(one, question)

    def _set_points(self, command: Points, frame: Frame) -> None:
        if self._family.classes and len(command.points) > 1:
            raise PromptError(f"{self._family.title} takes one prompt for all its structures")
        questions = []
        for place, points in enumerate(command.points):
            box = command.boxes[place] if command.boxes else None
            if points:
                self._need("point")
            if box is not None:
                self._need("box")
            OBJECT_POINTS.check(len(points), "an object", PromptError)
            question = Question(
                np.array([[x, y] for x, y, _ in points], np.float64).reshape(-1, 2),
                np.array([int(inside) for *_, inside in points], np.int64),
                None if box is None else np.array(box, np.float64),
            )
            _check_inside(question, frame)
            questions.append(question)
        self.forget()
        for place, question in enumerate(questions):
            name = command.names[place] if place < len(command.names) else ""
            self._ask_anew(self._make(name), question)

    def _need(self, kind: str) -> None:
        if kind in self._family.prompts:
            return
        takes = " and ".join(k for k in self._family.prompts if k != "mask")
        raise PromptError(
            f"{self._family.title} takes no {kind} prompts"
            + (f"; it takes {takes} prompts" if takes else ": it finds its structures by itself")
        )

    def _get(self, number: int) -> _Object | None:
        """The object; None for 0 (a new one). A family with classes has one prompt for all."""
        if self._family.classes and self._objects:
            return next(iter(self._objects.values()))
        if number == 0:
            return None
        if number not in self._objects:
            raise _no_object(number)
        return self._objects[number]

    def _make(self, name: str = "") -> _Object:
        if len(self._objects) >= MAX_OBJECTS:
            raise PromptError(f"there are {MAX_OBJECTS} objects; remove one first")
        number = self._next
        if number > MAX_OBJECT:
            raise PromptError(f"{MAX_OBJECT} objects were made; remove all of them to begin anew")
        return _Object(number, name or f"object {number}", _NOTHING)

    def _ask_anew(self, one: _Object, question: Question) -> None:
        one.question, one.is_lost = question, False
        if self._track and not self._family.classes:
            one.tracker = GatedTracker(question, self._gate, "mask" in self._family.prompts)
        self._objects[one.number] = one
        self._next = max(self._next, one.number + 1)


def command_of(prompt: Prompt, names: Sequence[str]) -> Points:
    """The command that means the same as a prompt that was given beforehand."""
    points, boxes = [], []
    for i in range(prompt.objects):
        own: list[tuple[float, float, bool]] = []
        if prompt.points is not None and prompt.labels is not None:
            pairs = zip(prompt.points[i], prompt.labels[i], strict=True)
            own = [(float(x), float(y), bool(label)) for (x, y), label in pairs]
        points.append(tuple(own))
        if prompt.box is not None:
            x0, y0, x1, y1 = (float(v) for v in prompt.box[i])
            boxes.append((x0, y0, x1, y1))
    return Points(tuple(points), tuple(names[: prompt.objects]), tuple(boxes))


def _group(asked: Sequence[tuple[int, Question]]) -> Group:
    questions = [question for _, question in asked]
    boxes = [q.box for q in questions if q.box is not None]
    logits = [q.logits for q in questions if q.logits is not None]
    pointed = any(len(q.points) for q in questions)
    prompt = Prompt(
        tuple(q.points for q in questions) if pointed else None,
        tuple(q.labels for q in questions) if pointed else None,
        np.stack(boxes) if boxes else None,
        tuple(number for number, _ in asked),
    )
    return Group(prompt, np.stack(logits) if logits else None)


def _within(question: Question, area: Box) -> Question | None:
    """A question as it can be asked about a part of the frame: points outside of it that are not
    the object's are left out, a box ends there. None: the object lies elsewhere."""
    low, high = np.array(area[:2], np.float64), np.array(area[2:], np.float64)
    inside = ((question.points >= low) & (question.points < high)).all(axis=1)
    if bool((~inside & (question.labels == 1)).any()):
        return None
    box = question.box
    if box is not None:
        box = np.concatenate([np.maximum(box[:2], low), np.minimum(box[2:], high)])
        if not (box[:2] < box[2:]).all():
            return None
    if box is None and inside.all():
        return question
    points, labels = question.points[inside], question.labels[inside]
    return Question(points, labels, box, question.logits)


def _check_inside(question: Question, frame: Frame) -> None:
    """Refuse prompts outside of the frame."""
    size: NDArray[np.float64] = np.array([frame.width, frame.height], np.float64)
    outside = bool(((question.points < 0) | (question.points >= size)).any())
    if question.box is not None:
        x0, y0, x1, y1 = question.box
        outside |= x0 < 0 or y0 < 0 or x1 > frame.width or y1 > frame.height
    if outside:
        raise PromptError(f"a prompt lies outside the frame of {frame.width} x {frame.height} px")


def _no_object(number: int) -> PromptError:
    return PromptError(f"there is no object {number}")
