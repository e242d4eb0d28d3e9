"""The thread of the session: a frame out of the mailbox, its masks to the sinks."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from samedge.errors import DeviceError, FrameError, PromptError, SamEdgeError
from samedge.prompts.plan import PromptPlan
from samedge.sources.frame import Box, Frame
from samedge.stream.live.account import Alarms, Counts, Histogram, Rate
from samedge.stream.live.controls import Command, Controls, Hold, Record
from samedge.stream.live.item import LiveFrame, LiveObject, Status, Times
from samedge.stream.live.likeness import Change
from samedge.stream.live.mailbox import Mailbox
from samedge.stream.live.objects import Group, Objects, command_of
from samedge.stream.live.publisher import Publisher
from samedge.stream.live.replay import Script
from samedge.stream.live.settings import LiveSettings
from samedge.stream.live.sight import SAME, Sight
from samedge.stream.live.states import Kind, State
from samedge.stream.segmenting import Answer, LiveSegmenter

_WAIT_S = 0.05
_QUIET_S = 5.0  # without late masks, after which the next is an alarm again


class Worker:
    """Segments frames in a thread of its own, and publishes them.

    Args:
        session: that it asks.
        inbox: where frames come from.
        objects: what is asked.
        plan: prompts from the beginning; `names`: of their objects.
        controls: what users say.
        settings: limits.
        publisher: where frames go.
        counts, alarms: told of frames and of trouble.
        now: the clock, in s.
        script: of a replay; then frames bring their own clock in `time_s`.
        on_record: called when a user starts or stops a recording.

    Attributes:
        error: what ended it, or None.
        busy_since: when the session was called that has not come back, or None.
        stages_ms: "wait" in the mailbox, "encode", "decode", "own" (all but the network).
    """

    def __init__(
        self,
        session: LiveSegmenter,
        inbox: Mailbox[Frame],
        objects: Objects,
        plan: PromptPlan,
        names: Sequence[str],
        controls: Controls,
        settings: LiveSettings,
        publisher: Publisher,
        counts: Counts,
        alarms: Alarms,
        now: Callable[[], float],
        script: Script | None,
        on_record: Callable[[bool], object],
    ) -> None:
        self._session, self._inbox, self._objects = session, inbox, objects
        self._controls, self._settings, self._publisher = controls, settings, publisher
        self._counts, self._alarms, self._now = counts, alarms, now
        self._plan, self._names, self._script, self._on_record = plan, names, script, on_record
        self._sight = Sight(settings, alarms, now)
        self._pending: deque[Command] = deque()
        self._obeyed: list[Command] = []
        self._answer: LiveFrame | None = None  # the last frame that was shown
        # What was found in it, also where that came too late to be shown.
        self._found: Sequence[LiveObject] = ()
        self._class_map: NDArray[np.uint8] | None = None
        self._encoded = False  # the session holds the embedding of that frame
        self._held = self._begun = False
        self._late_s = -math.inf
        self._in_hand = False  # a frame whose fate is not counted yet
        self._in_a_row = 0  # frames on which the network failed
        self._thread = threading.Thread(target=self._run, name="samedge session", daemon=True)
        self.error: BaseException | None = None
        self.busy_since: float | None = None
        self.stages_ms = {name: Histogram() for name in ("wait", "encode", "decode", "own")}
        self.rate = Rate()

    def start(self) -> None:
        self._thread.start()

    def join(self, wait_s: float) -> bool:
        """Wait for the end; False if the session does not come back."""
        if self._thread.ident is not None:
            self._thread.join(wait_s)
        return not self._thread.is_alive()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._inbox.is_done:
                self._step(self._inbox.take(_WAIT_S))
        except BaseException as error:  # told to the stream, which ends with it
            self.error = error
        finally:
            # What still lies in the mailbox is seen by nobody.
            self._inbox.close()
            self._counts.left += self._in_hand
            while self._inbox.take(0) is not None:
                self._counts.left += 1

    def _step(self, frame: Frame | None) -> None:
        self._listen()
        self._in_hand = frame is not None
        if frame is None:
            if self._pending and self._answer is not None:
                self._again(self._answer)
            return
        if self._held and self._answer is not None:
            self._counts.held += 1
            self._in_hand = False
            if self._pending:
                self._again(self._answer)
            return
        self._frame(frame)
        self._in_hand = False
        if self._script is not None and self._answer is not None:
            for commands in self._script.again(frame.index):
                self._pending.extend(commands)
                self._again(self._answer)

    def _listen(self) -> None:
        """Commands that need no frame are obeyed now, the others with the next one."""
        for command in self._controls.take():
            if isinstance(command, Hold):
                self._hold(command.on)
            elif isinstance(command, Record):
                self._on_record(command.on)
            else:
                self._pending.append(command)

    def _hold(self, on: bool) -> None:
        if on == self._held:
            return
        self._held = on
        last = self._answer
        if last is not None:
            states = last.states - {State.HELD} | ({State.HELD} if on else set())
            expires = math.inf if on else last.times.captured + self._settings.expire_s
            self._publish(
                replace(
                    last,
                    is_new=False,
                    states=frozenset(states),
                    expires_s=expires,
                    objects=tuple(self._found),
                    class_map=self._class_map,
                    commands=(),
                )
            )

    def _frame(self, frame: Frame) -> None:
        """A frame that came."""
        assert frame.captured_s is not None
        times = Times(frame.captured_s, taken=self._now())
        self.stages_ms["wait"].add((times.taken - times.captured) * 1e3)
        clock_s = frame.captured_s
        if self._script is not None:
            clock_s = frame.time_s or 0.0
            self._pending.extend(self._script.commands(frame.index))
        change = self._look(frame)
        answer = self._answer
        # What the network failed on is tried again, and so is what is asked in another way now.
        if answer is None or change not in SAME or State.FAILED in answer.states or self._pending:
            self._segment(frame, times, clock_s)
            return
        self._counts.repeated += 1
        same = replace(
            answer,
            frame=frame,
            is_new=True,
            states=self._repeated(answer, change),
            times=replace(times, encoded=times.taken, decoded=times.taken),
            class_map=self._class_map,
            clock_s=clock_s,
        )
        self._show(same, self._found)

    def _look(self, frame: Frame) -> Change:
        """What is new in a frame, and what follows from that for prompts."""
        change = self._sight.look(frame)
        if change is Change.SIZE:
            self._objects.forget()
            self._begun = True
        elif change is Change.SCENE:
            self._objects.lose("the picture is another one")
        return change

    def _repeated(self, answer: LiveFrame, change: Change) -> frozenset[State]:
        """The states of a frame whose pixels are those of one that was answered."""
        states = set(answer.states) - {State.FROZEN, State.STALLED, State.LATE, State.NO_SIGNAL}
        state = self._sight.state(change)
        return frozenset(states if state is None else states | {state})

    def _segment(self, frame: Frame, times: Times, clock_s: float) -> None:
        """Encode a frame and answer what is asked about it."""
        self._begin(frame)
        self._obey(frame)
        crop = self._sight.crop
        base = LiveFrame(
            0, frame, True, (), frozenset(), (), times, math.inf, crop=crop, clock_s=clock_s
        )
        self._encoded = False
        if self._objects.is_waiting:
            self._counts.unprompted += 1
            moment = replace(times, encoded=times.taken, decoded=times.taken)
            self._show(replace(base, times=moment), ())
            return
        try:
            self._encode(frame, crop)
        except FrameError as error:
            self._counts.refused += 1
            self._alarms.raise_(Kind.FRAME, str(error))
            return
        except SamEdgeError as error:
            self._failed(base, error)
            return
        encoded = self._now()
        self.stages_ms["encode"].add((encoded - times.taken) * 1e3)
        self._decode(replace(base, times=replace(times, encoded=encoded)), encoded - times.taken)

    def _decode(self, base: LiveFrame, network_s: float) -> None:
        """Ask about the frame that the session holds."""
        answers: list[tuple[Group, Answer]] = []
        frame, crop = base.frame, base.crop
        area = crop or (0, 0, frame.width, frame.height)
        begin = self._now()
        try:
            for group in self._objects.groups(area):
                with self._watched():
                    answers.append((group, self._session.predict(**group.arguments())))
        except SamEdgeError as error:
            self._failed(base, error)
            return
        end = self._now()
        found = self._objects.answer(frame, base.clock_s, area, answers)
        class_map = next((a.class_map for _, a in answers if a.class_map is not None), None)
        decoded = self._now()
        self.stages_ms["decode"].add((end - begin) * 1e3)
        times = replace(base.times, decoded=decoded, network_s=network_s + end - begin)
        if base.is_new:
            self._counts.segmented += 1
            self._in_hand = False
            self.rate.add(decoded)
        self._in_a_row = 0
        self._show(replace(base, times=times, class_map=class_map), found)

    def _again(self, last: LiveFrame) -> None:
        """What was said about a picture that stands still is answered at once."""
        self._obey(last.frame)
        now = self._now()
        base = replace(last, is_new=False, states=frozenset())
        base = replace(base, times=replace(last.times, taken=now, encoded=now))
        if self._objects.is_waiting:
            self._show(base, ())
            return
        if not self._encoded:
            try:
                self._encode(last.frame, last.crop)
            except SamEdgeError as error:
                self._failed(base, error)
                return
        self._decode(base, 0.0)

    def _begin(self, frame: Frame) -> None:
        """Place the first prompts, once it is known what the network sees."""
        if self._begun or not self._sight.is_settled:
            return
        self._begun = True
        if not self._plan.is_empty and self._script is None:
            prompt = self._plan.resolve(frame.height, frame.width, self._sight.crop, frame.index)
            self._pending.appendleft(command_of(prompt, self._names))

    def _obey(self, frame: Frame) -> None:
        """Prompts that users gave."""
        self._obeyed = []
        while self._pending:
            command = self._pending.popleft()
            try:
                self._objects.apply(command, frame)
            except PromptError as error:
                self._alarms.raise_(Kind.PROMPT, str(error))
            else:
                self._obeyed.append(command)
                self._begun = True

    def _failed(self, base: LiveFrame, error: SamEdgeError) -> None:
        """The network has no answer for this frame: it is shown without one."""
        self._in_a_row += 1
        if base.is_new:
            self._counts.failed += 1
            self._in_hand = False
        kind = Kind.PROMPT if isinstance(error, PromptError) else Kind.INFERENCE
        self._alarms.raise_(kind, str(error))
        if self._in_a_row >= self._settings.failures:
            raise DeviceError(
                f"the network failed on {self._in_a_row} frames one after the other, at last with: "
                f"{error}"
            ) from error
        self._show(replace(base, states=frozenset({State.FAILED})), self._objects.waiting())

    def _show(self, item: LiveFrame, found: Sequence[LiveObject]) -> None:
        """Publish a frame with its masks, unless they come too late to be shown."""
        states = set(item.states)
        statuses = {one.status for one in found}
        for status, state in ((Status.LOST, State.LOST), (Status.DOUBTFUL, State.DOUBTFUL)):
            states.discard(state)
            if status in statuses:
                states.add(state)
        states.discard(State.PROMPT)
        if self._objects.is_waiting:
            states.add(State.PROMPT)
        if self._held:
            states.add(State.HELD)
        self._found, self._class_map = found, item.class_map
        settings = self._settings
        expires = item.times.captured + settings.expire_s
        if self._held or settings.every_frame:
            expires = math.inf
        age = self._now() - item.times.captured
        if item.is_new and not settings.every_frame:
            late = age > settings.deadline_s
            self._note_late(late, age)
            if late:
                states.add(State.LATE)
        if self._now() >= expires:
            if any(one.mask is not None for one in found):
                self._counts.expired += 1
                self._alarms.raise_(Kind.EXPIRED, f"masks came after {age * 1e3:.0f} ms")
            found = [replace(one, mask=None) for one in found]
            item = replace(item, class_map=None)
        if not states:
            states.add(State.LIVE)
        item = replace(
            item,
            objects=tuple(found),
            states=frozenset(states),
            expires_s=expires,
            commands=tuple(self._obeyed),
        )
        self._obeyed = []
        self._tell_lost(found)
        self._publish(item)

    def _publish(self, item: LiveFrame) -> None:
        self._answer = item
        self._publisher.publish(item)
        if item.is_new:
            own = self._now() - item.times.taken - item.times.network_s
            self.stages_ms["own"].add(own * 1e3)

    def _note_late(self, late: bool, age: float) -> None:
        """Count late masks; an alarm when they begin after a while without."""
        if not late:
            return
        self._counts.late += 1
        now = self._now()
        if now - self._late_s > _QUIET_S:
            limit = self._settings.deadline_s * 1e3
            self._alarms.raise_(
                Kind.LATE, f"masks come {age * 1e3:.0f} ms after their frame; {limit:.0f} allowed"
            )
        self._late_s = now

    def _tell_lost(self, found: Sequence[LiveObject]) -> None:
        before = {} if self._answer is None else {o.number: o.status for o in self._answer.objects}
        for one in found:
            if one.status is Status.LOST and before.get(one.number) is not Status.LOST:
                self._alarms.raise_(Kind.LOST, f"{one.name} is lost: {one.reason}")

    def _encode(self, frame: Frame, crop: Box | None) -> None:
        """Let the session see a frame; afterwards it holds its embedding."""
        with self._watched():
            self._session.set_frame(self._sight.for_network(frame.pixels), crop=crop)
        self._encoded = True

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """The watchdog looks at how long the session has been busy."""
        self.busy_since = self._now()
        try:
            yield
        finally:
            self.busy_since = None
