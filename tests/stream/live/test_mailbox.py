"""The newest wins, nothing is lost without being counted, and nobody waits for ever."""

from __future__ import annotations

import threading
import time

from samedge.stream.live.mailbox import Mailbox


def test_the_newest_replaces_what_was_not_taken() -> None:
    box: Mailbox[int] = Mailbox()
    assert box.put(1)
    assert not box.put(2)
    assert not box.put(3)
    assert (box.take(0), box.dropped) == (3, 2)
    assert box.take(0) is None


def test_a_line_keeps_its_order_and_refuses_what_does_not_fit() -> None:
    box: Mailbox[int] = Mailbox(places=2, newest=False)
    assert [box.put(i) for i in range(3)] == [True, True, False]
    assert [box.take(0), box.take(0), box.take(0)] == [0, 1, None]
    assert box.dropped == 1


def test_an_offer_waits_for_a_place_and_drops_nothing() -> None:
    box: Mailbox[int] = Mailbox(newest=False)
    assert box.offer(1, 0)
    assert not box.offer(2, 0.01)
    taken: list[int | None] = []
    thread = threading.Thread(target=lambda: (time.sleep(0.05), taken.append(box.take(1))))
    thread.start()
    assert box.offer(2, 5)
    thread.join()
    assert (taken, box.take(0), box.dropped) == ([1], 2, 0)


def test_a_closed_mailbox_gives_what_it_holds_and_takes_no_more() -> None:
    box: Mailbox[int] = Mailbox()
    box.put(1)
    assert box.close() == 1
    assert not box.put(2)
    assert not box.is_done
    assert (box.take(10), box.take(10), box.dropped) == (1, None, 1)
    assert box.is_done


def test_a_close_wakes_those_who_wait() -> None:
    box: Mailbox[int] = Mailbox(newest=False)
    got: list[object] = []
    thread = threading.Thread(target=lambda: got.append(box.take(60)))
    thread.start()
    time.sleep(0.02)
    box.close()
    thread.join(30)
    full: Mailbox[int] = Mailbox(newest=False)
    full.put(1)
    thread = threading.Thread(target=lambda: got.append(full.offer(2, 60)))
    thread.start()
    time.sleep(0.02)
    full.close()
    thread.join(30)
    assert got == [None, False]


def test_every_thing_is_taken_or_counted() -> None:
    box: Mailbox[int] = Mailbox()
    taken = []

    def take() -> None:
        while not box.is_done:
            item = box.take(0.01)
            if item is not None:
                taken.append(item)

    thread = threading.Thread(target=take)
    thread.start()
    for i in range(5000):
        box.put(i)
    box.close()
    thread.join(30)
    assert len(taken) + box.dropped == 5000
    assert taken == sorted(taken)
    assert taken[-1] == 4999
