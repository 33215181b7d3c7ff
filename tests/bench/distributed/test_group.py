"""A group of ranks: real processes without OneFlow that answer, or misbehave as they are told."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from types import SimpleNamespace

import pytest
from scripted_rank import SCRIPT

from oneflow_bench.bench.distributed.group import PEER_LOST, RankGroup, find_culprit
from oneflow_bench.bench.distributed.starting import RankProcess
from oneflow_bench.bench.errors import InputError, WorkerError, WorkerTimeout


def merge(call, answers):
    if call == "contradict":
        raise WorkerError("rank 1 begins with other weights")
    return {"ranks": [answer["rank"] for answer in answers]}


def start_member(folder, rank, command=(sys.executable, "-c", SCRIPT)):
    name, title = f"ddp.rank-{rank}", f"rank {rank} of the worker 'ddp'"
    environment = {**os.environ, "RANK": str(rank)}
    return RankProcess(name, list(command), environment, folder / f"{name}.log", title)


def create_group(folder, ranks=2, released=None):
    members = [start_member(folder, rank) for rank in range(ranks)]
    release = (lambda: None) if released is None else lambda: released.append(True)
    return RankGroup("ddp", members, merge, release=release)


@pytest.fixture
def group(tmp_path):
    group = create_group(tmp_path / "logs", ranks=3)
    yield group
    group.kill()
    group.close()


def are_ended(group):
    return all(member._process.poll() is not None for member in group._members)


def test_the_answers_of_all_ranks_are_merged(group):
    for _ in range(3):
        assert group.ask("train", 60, does=["late", "", ""]) == {"ranks": [0, 1, 2]}


def test_a_request_can_be_sent_and_its_answer_taken_later(group):
    group.send("prepare", does=["", "", ""])
    assert group.receive("prepare", 60) == {"ranks": [0, 1, 2]}


def wait_for_answers(group, *ranks):
    """Until these ranks have answered, however busy the machine is."""
    waiting = {group._members[rank] for rank in ranks}
    while waiting:
        waiting -= set(select.select(list(waiting), [], [])[0])


def wait_for_log(group, text, *ranks):
    while any(text not in group._members[rank].read_log_tail() for rank in ranks):
        time.sleep(0.01)


@pytest.mark.parametrize("others", ["", "hang"])
def test_a_rank_that_dies_ends_the_group_at_once(group, others):
    with pytest.raises(
        WorkerError, match=r"^rank 1 of the worker 'ddp' died in its train turn \(exit status 7\)"
    ) as info:
        group.ask("train", 60, does=["hang", "die", others])  # and not the timeout
    assert info.value.log_tail == "last words"
    assert are_ended(group)


def test_a_rank_that_dies_after_its_answer_is_noticed_while_another_works(group):
    group.send("train", does=["hang", "", ""])
    wait_for_answers(group, 2)
    os.kill(group._members[2].pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match=r"^rank 2 of the worker 'ddp' died .*SIGKILL"):
        group.receive("train", 60)
    assert are_ended(group)


def test_a_rank_that_fails_ends_the_group(group):
    with pytest.raises(WorkerError, match=r"^rank 2 of the worker 'ddp' failed .* ValueError: no"):
        group.ask("train", 60, does=["hang", "hang", "fail"])
    assert are_ended(group)


def test_what_one_rank_refuses_names_it_and_what_all_refuse_is_said_once(tmp_path):
    group = create_group(tmp_path)
    with pytest.raises(InputError, match=r"^rank 1 of the worker 'ddp': the label 12"):
        group.ask("train", 60, does=["hang", "refuse"])
    group.close()
    group = create_group(tmp_path)
    group.send("train", does=["refuse", "refuse"])
    wait_for_answers(group, 0, 1)
    with pytest.raises(InputError, match=r"^the label 12"):
        group.receive("train", 60)
    group.close()


def test_ranks_that_contradict_each_other_end_the_group(group):
    with pytest.raises(WorkerError, match="^the worker 'ddp': rank 1 begins with other weights"):
        group.ask("contradict", 60, does=["", "", ""])
    assert are_ended(group)


def test_a_stopped_rank_ends_the_group_at_the_timeout(group):
    group.ask("train", 60, does=["", "", ""])
    os.kill(group._members[1].pid, signal.SIGSTOP)
    group.send("train", does=["", "", ""])
    wait_for_answers(group, 0, 2)
    with pytest.raises(
        WorkerTimeout, match=r"^rank 1 of the worker 'ddp' gave no answer to the train turn"
    ):
        group.receive("train", 0.1)
    assert are_ended(group)


def test_the_timeout_names_the_ranks_that_did_not_answer_and_the_remedy(group, monkeypatch):
    place = 'File "<string>", line 13 in <module>'  # where it sleeps
    wait = SimpleNamespace(
        monotonic=time.monotonic, sleep=lambda seconds: wait_for_log(group, place, 1, 2)
    )
    monkeypatch.setattr("oneflow_bench.bench.distributed.group.time", wait)
    group.send("train", does=["", "hang", "hang"])
    wait_for_answers(group, 0)
    wait_for_log(group, "hangs", 1, 2)
    with pytest.raises(WorkerTimeout, match=r"^ranks 1, 2 of .* within 0.1 s.* --timeout") as info:
        group.receive("train", 0.1)
    assert str(group._members[1].log_path) in str(info.value)
    assert place in info.value.log_tail
    assert are_ended(group)


def test_an_answer_that_comes_just_before_the_timeout_is_taken(group):
    assert group.ask("train", 60, does=["late", "late", "late"]) == {"ranks": [0, 1, 2]}


def test_asking_a_group_whose_rank_has_died_is_an_error_and_not_a_broken_pipe(group):
    os.kill(group._members[1].pid, signal.SIGKILL)
    group._members[1]._process.wait()
    with pytest.raises(WorkerError, match="^rank 1 of the worker 'ddp' died"):
        group.ask("train", 60, does=["hang", "", "hang"])


def test_ranks_exit_after_their_last_answer_without_being_missed(group):
    assert group.ask("end", 60, does=["late", "", ""]) == {"ranks": [0, 1, 2]}
    group.close()
    assert are_ended(group)


def test_closing_ends_all_ranks_in_good_order_and_gives_the_port_back(tmp_path):
    released = []
    group = create_group(tmp_path, released=released)
    group.ask("train", 60, does=["", ""])
    group.close()
    assert [member._process.returncode for member in group._members] == [0, 0]
    assert released
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ddp.rank-0.log", "ddp.rank-1.log"]


def test_a_group_can_be_killed_and_closed_again_and_again(group):
    for _ in range(2):
        group.kill()
        group.close()
    assert are_ended(group)


def test_a_rank_that_cannot_be_started_leaves_no_file_but_its_log(tmp_path):
    with pytest.raises(WorkerError, match="^rank 1 of the worker 'ddp' could not be started"):
        start_member(tmp_path, 1, ["no-such-python"])
    assert [path.name for path in tmp_path.iterdir()] == ["ddp.rank-1.log"]


def died(tail="", returncode=-6):
    return WorkerError("died", tail, returncode)


@pytest.mark.parametrize(
    ("errors", "rank"),
    [
        *(
            ({0: died(f"F2026 {place}:95] Check failed"), 1: died("", -9)}, 1)
            for place in PEER_LOST
        ),
        ({0: died("", -9), 1: WorkerError("failed")}, 1),
        ({0: died("", -9), 2: InputError("no")}, 2),
        ({1: died("", -9), 2: died("", -9)}, 1),
        ({0: died(PEER_LOST[0])}, 0),
    ],
)
def test_the_rank_that_failed_first_is_to_blame(errors, rank):
    assert find_culprit(errors) == rank


def test_the_cause_of_an_abort_may_show_later():
    """A rank that OneFlow aborted is seen before the rank whose node was lost."""

    class Member:
        def __init__(self, error, polls):
            self.error, self.polls, self.title = error, polls, "rank"
            self.reader, self.bell = os.pipe()
            os.write(self.bell, b".")

        def fileno(self):
            return self.reader

        def poll(self, call):
            self.polls -= 1
            if self.polls < 0:
                raise self.error

        def kill(self):
            os.close(self.reader)
            os.close(self.bell)

        def send(self, call):
            pass

    aborted = WorkerError("rank 0 died", f"in {PEER_LOST[0]}", -6)
    lost = WorkerError("the node of rank 1 was lost")
    for agree_s, error in ((60.0, lost), (0.0, aborted)):
        group = RankGroup("ddp", [Member(aborted, 0), Member(lost, 3)], merge, agree_s=agree_s)
        with pytest.raises(WorkerError, match=str(error)):
            group.ask("train", 60)
