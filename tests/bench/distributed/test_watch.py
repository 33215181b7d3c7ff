"""Hangs are told from slowness: made-up ranks, looked at every half second."""

from __future__ import annotations

from typing import Callable, Optional

import pytest

from oneflow_bench.bench.distributed.observation import Observation
from oneflow_bench.bench.distributed.progress import IDLE, REACHING, STEPPING, WORKING, Progress
from oneflow_bench.bench.distributed.watch import GAP_S, REST_S, STILL_S, STOPPED_S, HangDetector

LOOK_S = 0.5
LIMIT_S = 10.0  # from a fault to its error


class Rank:
    """Its count, and the cores' share that the process and its main thread use, at a time."""

    def __init__(
        self,
        count: Callable[[float], int] = lambda at_s: 1,
        cpu: float = 0.0,
        main: float = 0.0,
        phase: int = STEPPING,
        **state,
    ):
        self.count, self.cpu, self.main, self.phase = count, cpu, main, phase
        self.state = {"state": "S", "wanting": cpu > 0.0, "answered": False, **state}

    def at(self, at_s: float) -> Observation:
        progress = Progress(self.phase, self.count(at_s))
        return Observation(progress, self.cpu * at_s, self.main * at_s, **self.state)


def watch(*ranks: Rank, for_s: float = 60.0, listening_from_s: Optional[float] = None):
    """(seconds until somebody was said to hang, who); (None, None) if nobody was."""
    detector = HangDetector()
    detector.begin()
    for look in range(int(for_s / LOOK_S)):
        at_s = look * LOOK_S
        listening = listening_from_s is not None and at_s >= listening_from_s
        hang = detector.update(at_s, [rank.at(at_s) for rank in ranks], listening)
        if hang is not None:
            return at_s, hang
    return None, None


def waits(**options):
    """A rank in a collective call: OneFlow's scheduler spins, Python rests."""
    return Rank(**{"count": lambda at_s: 51, "cpu": 1.0, **options})


def moves(every_s, **options):
    """A rank that begins a step every so often."""
    return Rank(**{"count": lambda at_s: int(at_s / every_s), "cpu": 1.0, "main": 0.1, **options})


def check_hang(found, rank, limit_s=LIMIT_S):
    at_s, hang = found
    assert hang is not None and hang.ranks == [rank]
    assert at_s <= limit_s


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_stopped_rank_hangs_whatever_the_others_do(rank):
    ranks = [waits(), waits(), waits()]
    ranks[rank] = Rank(lambda at_s: 20, state="T")
    check_hang(watch(*ranks), rank, STOPPED_S + LOOK_S)


def test_a_rank_that_was_stopped_for_a_moment_does_not_hang():
    class Briefly(Rank):
        def at(self, at_s):
            self.state["state"] = "T" if 5.0 <= at_s < 6.5 else "S"
            return super().at(at_s)

    assert watch(Briefly(lambda at_s: int(at_s), cpu=1.0), moves(1.0)) == (None, None)


def test_a_stopped_rank_that_has_answered_is_left_alone():
    assert watch(moves(1.0), Rank(state="T", answered=True, phase=IDLE)) == (None, None)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_whose_python_sleeps_hangs(rank):
    ranks = [waits(), waits()]
    ranks[rank] = Rank(lambda at_s: 20)
    check_hang(watch(*ranks), rank, STILL_S + LOOK_S)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_whose_python_loops_hangs(rank):
    ranks = [waits(), waits()]
    ranks[rank] = Rank(lambda at_s: 20, cpu=1.0, main=0.9)
    check_hang(watch(*ranks), rank, STILL_S + LOOK_S)


def test_a_rank_whose_python_loops_on_half_a_core_hangs():
    check_hang(watch(Rank(lambda at_s: 20, cpu=1.0, main=0.5), waits()), 0)


def test_a_graph_waits_inside_the_step_that_the_other_rank_sleeps_in():
    check_hang(watch(waits(count=lambda at_s: 7), Rank(lambda at_s: 7)), 1, STILL_S + LOOK_S)


def test_a_graph_waits_inside_the_step_that_the_other_rank_loops_in():
    loops = Rank(lambda at_s: 7, cpu=1.0, main=0.95)
    check_hang(watch(waits(count=lambda at_s: 7), loops), 1, STILL_S + LOOK_S)


def test_ranks_that_all_rest_hang_and_the_last_of_them_is_named():
    check_hang(watch(Rank(lambda at_s: 9), Rank(lambda at_s: 9), Rank(lambda at_s: 8)), 2)


def test_ranks_that_wait_for_each_other_all_hang():
    at_s, hang = watch(Rank(phase=WORKING), Rank(phase=WORKING))
    assert hang.ranks == [0, 1] and at_s <= REST_S + LOOK_S
    assert hang.reason == "it has used no processor time for 8 s"


def test_the_last_rank_to_answer_hangs_when_it_rests():
    done = Rank(lambda at_s: 52, phase=IDLE, answered=True)
    check_hang(watch(done, Rank(lambda at_s: 52, phase=WORKING)), 1)


def test_a_rank_that_cannot_reach_rank_0_is_named_some_seconds_after_rank_0_listens():
    lost = Rank(phase=REACHING, cpu=0.02)
    at_s, hang = watch(Rank(lambda at_s: 2, phase=WORKING), lost, listening_from_s=2.0)
    assert hang.ranks == [1] and 8.0 <= at_s <= 8.5
    assert hang.verb == "cannot connect to rank 0"


def test_a_rank_0_that_takes_its_time_before_it_listens_is_waited_for():
    importing = Rank(lambda at_s: 2, phase=WORKING, cpu=0.9, main=0.9)
    assert watch(importing, Rank(phase=REACHING)) == (None, None)


def test_a_rank_0_that_sleeps_before_it_listens_hangs():
    check_hang(watch(Rank(lambda at_s: 2, phase=WORKING), Rank(phase=REACHING, cpu=0.02)), 0)


# what is no hang


def test_rank_0_compiling_for_a_minute_while_the_others_rest_is_no_hang():
    compiles = Rank(phase=WORKING, cpu=1.0, main=1.0)
    assert watch(compiles, Rank(phase=WORKING), Rank(phase=WORKING)) == (None, None)


def test_rank_0_writing_a_large_file_when_the_others_have_answered_is_no_hang():
    done = Rank(phase=IDLE, answered=True)
    assert watch(Rank(phase=WORKING, cpu=0.9, main=0.9), done) == (None, None)
    on_disk = Rank(phase=WORKING, state="D", wanting=True)
    assert watch(on_disk, done) == (None, None)


def test_long_steps_on_all_ranks_are_no_hang():
    works = Rank(lambda at_s: 51, cpu=1.0, main=0.05)
    assert watch(works, works) == (None, None)


def test_a_straggler_that_is_slow_but_moves_is_no_hang():
    assert watch(waits(), moves(5.0)) == (None, None)
    assert watch(waits(), moves(5.0, main=0.9)) == (None, None)


def test_a_rank_whose_threads_work_off_what_its_python_has_begun_is_no_hang():
    held_up = Rank(lambda at_s: 20, cpu=1.0, main=0.0)
    assert watch(waits(), held_up) == (None, None)


def test_steps_that_are_known_to_be_long_are_given_time():
    """The Python of each step is busy for 11 s; the first steps are alike on both ranks."""

    def count(lag_s):
        return lambda at_s: int(max(0.0, at_s - lag_s) / 11.0)

    even = Rank(count(0.0), cpu=1.0, main=0.9)
    late = Rank(count(3.0), cpu=1.0, main=0.9)
    assert watch(even, late) == (None, None)


def test_a_rank_that_gets_no_core_on_a_busy_machine_is_no_hang():
    starved = Rank(lambda at_s: 20, wanting=True, state="R")
    assert watch(waits(), starved) == (None, None)


def test_two_ranks_behind_a_third_are_not_told_apart_while_they_work():
    works = Rank(lambda at_s: 20, cpu=1.0, main=0.9)
    assert watch(waits(), works, works) == (None, None)


def test_a_machine_that_slept_is_not_a_group_that_hung():
    detector = HangDetector()
    sleeping = [Rank(lambda at_s: 20).at(0.0), waits().at(0.0)]
    for at_s in (0.0, 0.5, 3600.0, 3600.5):
        assert detector.update(at_s, sleeping) is None
    later = [3600.5 + (GAP_S - 0.5) * look for look in range(1, 4)]
    assert [detector.update(at_s, sleeping) is not None for at_s in later] == [False, False, True]


def test_a_rank_that_is_ending_is_left_to_its_end():
    detector = HangDetector()
    for look in range(60):
        assert detector.update(look * LOOK_S, [None, Rank().at(0.0)]) is None


def test_what_was_seen_in_one_request_does_not_count_in_the_next():
    detector = HangDetector()
    asleep = [Rank().at(0.0), Rank().at(0.0)]
    for look in range(60):
        detector.begin()
        assert detector.update(look * LOOK_S, asleep) is None


def test_the_heartbeat_of_a_resting_process_is_no_work():
    check_hang(watch(waits(), Rank(lambda at_s: 20, cpu=0.001, wanting=False)), 1)
