"""Checkpoints in a folder: rotation, the latest whole one, and never fewer than there were."""

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import pyfastlr as flr
from processes import run
from pyfastlr.files import replacing
from test_files_faults import WRITER, System, age, leftovers, raising

G = np.ones(3)


def trained(steps=0):
    params = np.zeros(3)
    opt = flr.SGD(params, lr=0.1, momentum=0.9)
    for _ in range(steps):
        opt.step(G)
    return params, opt


def name(n):
    return f"checkpoint-{n:012d}.safetensors"


def damage(path):
    content = bytearray(Path(path).read_bytes())
    content[-30] ^= 1
    Path(path).write_bytes(content)


def test_the_last_ones_are_kept(tmp_path):
    for keep, left in [(3, [5, 6, 7]), (1, [7]), (None, list(range(1, 8))), (np.int64(2), [6, 7])]:
        folder = tmp_path / str(keep) / "new"
        checkpoints = flr.Checkpoints(folder, keep=keep)
        assert checkpoints.latest() is None
        params, opt = trained()
        for n in range(1, 8):
            opt.step(G)
            assert checkpoints.save(params, opt, n=n) == str(folder / name(n))
            saved = checkpoints.latest()
            assert (saved.state["steps"], saved.extra, saved.params.tolist()) == (n, {"n": n}, params.tolist())
        assert sorted(os.listdir(folder)) == [name(n) for n in left]
        assert checkpoints.paths() == [str(folder / name(n)) for n in left]
        assert repr(checkpoints) == f"Checkpoints({str(folder)!r}, keep={keep}, every=None)"


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    checkpoints = flr.Checkpoints(tmp_path / "file")
    for call in (checkpoints.latest, lambda: checkpoints.save(*trained())):
        with pytest.raises(NotADirectoryError, match="file"):
            call()
    assert (tmp_path / "file").read_text() == "mine"


def test_every_so_many_updates(tmp_path):
    checkpoints = flr.Checkpoints(tmp_path, keep=None, every=4)
    params, opt = trained()
    done = []
    for _ in range(10):
        done.append(checkpoints.save(params, opt) is not None)
        opt.step(G)
    assert done == [False] * 4 + [True] + [False] * 3 + [True, False]
    resumed = flr.Checkpoints(tmp_path, keep=None, every=4)
    saved = resumed.latest()
    params, opt = saved.params, trained()[1]
    opt.load_state_dict(saved.state)
    assert opt.steps == 8
    done = []
    for _ in range(6):
        done.append(resumed.save(params, opt) is not None)
        opt.step(G)
    assert done == [False] * 4 + [True, False]


def test_a_run_killed_between_saves_resumes_exactly(tmp_path):
    """The pattern of the docstring, in processes that end in the middle."""
    script = """
    import os, sys
    import numpy as np, pyfastlr as flr
    checkpoints = flr.Checkpoints(sys.argv[1], keep=2, every=5)
    saved = checkpoints.latest()
    params = np.zeros(3) if saved is None else saved.params
    opt = flr.NAdam(params, lr=0.1)
    if saved is not None:
        opt.load_state_dict(saved.state)
    stop = int(sys.argv[2])
    while opt.steps < 40:
        if opt.steps == stop:
            os._exit(0)
        opt.step(np.sin(np.arange(3.0) + opt.steps))
        checkpoints.save(params, opt)
    print(params.tobytes().hex())
    """
    for stop in (7, 13, 34):
        assert run(script, tmp_path / "a", stop) == ""
    assert run(script, tmp_path / "a", -1) == run(script, tmp_path / "b", -1) != ""


def test_damaged_checkpoints_are_skipped_with_a_warning(tmp_path):
    params, opt = trained(3)
    checkpoints = flr.Checkpoints(tmp_path, keep=3)
    for _ in range(3):
        checkpoints.save(params, opt)
        opt.step(G)
    damage(tmp_path / name(5))
    (tmp_path / name(4)).write_bytes(b"")
    with pytest.warns(RuntimeWarning, match="a damaged checkpoint is skipped") as caught:
        saved = flr.Checkpoints(tmp_path).latest()
    assert saved.state["steps"] == 3
    assert [Path(str(x.message).partition("skipped: ")[2].partition(": ")[0]).name for x in caught] == [
        name(5),
        name(4),
    ]
    assert {x.filename for x in caught} == {__file__}
    damage(tmp_path / name(3))
    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(flr.BadFile, match=f"{tmp_path}: all checkpoints are damaged: check"),
    ):
        flr.Checkpoints(tmp_path).latest()


def test_a_run_resumed_from_an_earlier_checkpoint_replaces_the_damaged_later_ones(tmp_path):
    params, opt = trained(3)
    checkpoints = flr.Checkpoints(tmp_path, keep=2)
    for _ in range(2):
        checkpoints.save(params, opt)
        opt.step(G)
    damage(tmp_path / name(4))
    again = flr.Checkpoints(tmp_path, keep=2)
    with pytest.warns(RuntimeWarning):
        saved = again.latest()
    _, opt = trained()
    opt.load_state_dict(saved.state)
    assert opt.steps == 3
    again.save(saved.params, opt)
    assert sorted(os.listdir(tmp_path)) == [name(3)]
    assert again.latest().state["steps"] == 3


def test_a_new_run_does_not_touch_the_checkpoints_of_another(tmp_path):
    params, opt = trained(9)
    flr.Checkpoints(tmp_path).save(params, opt)
    params, opt = trained(2)
    with pytest.raises(ValueError, match=rf"`folder` .* later updates than 2, got {tmp_path}/{name(9)}: to continue"):
        flr.Checkpoints(tmp_path).save(params, opt)
    assert os.listdir(tmp_path) == [name(9)]


def test_after_a_rollback_the_latest_is_the_new_one(tmp_path):
    params, opt = trained(5)
    checkpoints = flr.Checkpoints(tmp_path, keep=3, every=2)
    checkpoints.save(params, opt)
    before = opt.state_dict()
    for _ in range(2):
        opt.step(G)
    checkpoints.save(params, opt)
    opt.load_state_dict(before)
    opt.step(G)
    assert checkpoints.save(params, opt) == str(tmp_path / name(6))
    assert sorted(os.listdir(tmp_path)) == [name(5), name(6)]
    assert checkpoints.latest().state["steps"] == 6
    assert checkpoints.save(params, opt) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_a_save_that_fails_removes_nothing(tmp_path, monkeypatch, call, number):
    params, opt = trained(1)
    checkpoints = flr.Checkpoints(tmp_path, keep=1)
    checkpoints.save(params, opt)
    opt.step(G)
    with monkeypatch.context() as patch:
        patch.setattr(replacing, "os", System(call, 0, raising(number)))
        with pytest.raises(OSError, match=name(2)):
            checkpoints.save(params, opt)
    assert os.listdir(tmp_path) == [name(1)]
    assert checkpoints.latest().state["steps"] == 1
    checkpoints.save(params, opt)
    assert os.listdir(tmp_path) == [name(2)]


def test_an_old_checkpoint_that_cannot_be_removed_is_a_warning(tmp_path, monkeypatch):
    params, opt = trained(1)
    checkpoints = flr.Checkpoints(tmp_path, keep=1)
    checkpoints.save(params, opt)
    opt.step(G)
    unlink = os.unlink

    def refuse(path, **options):
        if str(path).endswith(name(1)):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.warns(RuntimeWarning, match=f"old checkpoint could not be removed: .*{name(1)}"):
        assert checkpoints.save(params, opt) == str(tmp_path / name(2))


def test_other_errors_of_reading_are_raised(tmp_path, monkeypatch):
    params, opt = trained(1)
    checkpoints = flr.Checkpoints(tmp_path)
    checkpoints.save(params, opt)
    for number, skipped in [(errno.EACCES, False), (errno.EMFILE, False), (errno.EIO, True)]:

        def load(path, number=number):
            raise OSError(number, os.strerror(number), path)

        monkeypatch.setattr("pyfastlr.checkpoints.load", load)
        if skipped:
            with pytest.warns(RuntimeWarning, match="skipped"), pytest.raises(flr.BadFile, match="all checkpoints"):
                checkpoints.latest()
        else:
            with pytest.raises(OSError, match=name(1)) as caught:
                checkpoints.latest()
            assert caught.value.errno == number


def test_a_checkpoint_that_another_process_removes_meanwhile(tmp_path, monkeypatch):
    params, opt = trained(1)
    checkpoints = flr.Checkpoints(tmp_path)
    for _ in range(2):
        checkpoints.save(params, opt)
        opt.step(G)
    from pyfastlr import checkpoints as module

    load = module.load

    def removing(path):
        if path.endswith(name(2)):
            os.unlink(path)
        return load(path)

    monkeypatch.setattr(module, "load", removing)
    assert checkpoints.latest().state["steps"] == 1


def test_leftovers_of_a_killed_run_are_removed_by_the_next_save(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "x"], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"begun\n"
    params, opt = trained(1)
    checkpoints = flr.Checkpoints(tmp_path)
    age(tmp_path)
    checkpoints.save(params, opt)
    assert len(leftovers(tmp_path)) == 1
    writer.kill()
    writer.communicate()
    checkpoints.save(params, opt)
    assert os.listdir(tmp_path) == [name(1)]


@pytest.mark.parametrize(
    "other",
    ["checkpoint-5.safetensors", "checkpoint-0000000000005.safetensors",
     "checkpoint-00000000000\N{ARABIC-INDIC DIGIT FIVE}.safetensors",
     "checkpoint-000000000005.safetensors.bak", "checkpoint-0999999999999999999.safetensors"],
)  # fmt: skip
def test_names_that_only_look_like_ours(tmp_path, other):
    """They are neither counted nor removed, and nothing is loaded from them."""
    params, opt = trained(5)
    checkpoints = flr.Checkpoints(tmp_path, keep=1)
    flr.save(tmp_path / other, np.full(3, 77.0), opt)
    for n in (5, 6):
        checkpoints.save(params, opt)
        assert checkpoints.latest().params.tolist() == params.tolist()
        assert sorted(os.listdir(tmp_path)) == sorted([other, name(n)])
        opt.step(G)


def test_a_folder_with_the_name_of_a_checkpoint(tmp_path):
    params, opt = trained(5)
    os.mkdir(tmp_path / name(3))
    os.mkdir(tmp_path / name(9))
    checkpoints = flr.Checkpoints(tmp_path, keep=1)
    assert checkpoints.latest() is None
    checkpoints.save(params, opt)
    assert checkpoints.latest().state["steps"] == 5
    assert checkpoints.paths() == [str(tmp_path / name(5))]


def test_more_updates_than_the_name_has_zeros_for(tmp_path):
    params, opt = trained(2)
    checkpoints = flr.Checkpoints(tmp_path, keep=2)
    for steps in (10**9, 999_999_999_999, 10**12, 2**62):
        opt.load_state_dict({**opt.state_dict(), "steps": steps})
        checkpoints.save(params, opt)
    assert sorted(os.listdir(tmp_path)) == [f"checkpoint-{n}.safetensors" for n in (10**12, 2**62)]
    assert checkpoints.latest().state["steps"] == 2**62


def within(seconds, work):
    """What `work` returns in another thread, which must end in time."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive()
    return found[0]


def test_checkpoints_may_be_read_while_one_is_saved(tmp_path):
    params, opt = trained(1)
    checkpoints = flr.Checkpoints(tmp_path)
    checkpoints.save(params, opt)
    opt.step(G)
    seen = []

    def look(done, total):
        seen.append((checkpoints.latest().state["steps"], len(checkpoints.paths())))

    assert within(20, lambda: checkpoints.save(params, opt, progress=look)) == str(tmp_path / name(2))
    assert set(seen) == {(1, 1)}
    assert checkpoints.latest().state["steps"] == 2


def test_a_schedule_that_reads_checkpoints_while_another_thread_saves(tmp_path):
    params, opt = trained(1)
    checkpoints = flr.Checkpoints(tmp_path)
    checkpoints.save(params, opt)
    inside, saving = threading.Event(), threading.Event()

    def rate(n):
        inside.set()
        saving.wait(10)
        time.sleep(0.05)
        return 0.1 if checkpoints.latest().state["steps"] == 1 else 0.2

    opt.lr = rate
    threads = [
        threading.Thread(target=lambda: opt.step(G), daemon=True),
        threading.Thread(target=lambda: saving.set() or checkpoints.save(params, opt), daemon=True),
    ]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert checkpoints.latest().state["steps"] == 2


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    others = ["checkpoint-1.txt", "checkpoint-x.safetensors", "other.safetensors", "checkpoint-.safetensors",
              "checkpoint-00000000000000000001.safetensors"]  # fmt: skip
    for other in others:
        (tmp_path / other).write_bytes(b"")
    params, opt = trained(1)
    checkpoints = flr.Checkpoints(tmp_path, keep=1)
    assert checkpoints.latest() is None
    for _ in range(3):
        checkpoints.save(params, opt)
        opt.step(G)
    assert sorted(os.listdir(tmp_path)) == sorted([*others, name(3)])


def test_the_name_is_that_of_the_contents_while_another_thread_steps(tmp_path):
    params, opt = trained(1)
    checkpoints, ends = flr.Checkpoints(tmp_path, keep=None), threading.Event()

    def step():
        while not ends.is_set():
            opt.step(G)

    thread = threading.Thread(target=step)
    thread.start()
    try:
        for _ in range(15):
            time.sleep(1e-3)
            checkpoints.save(params, opt)
    finally:
        ends.set()
        thread.join()
    for path in checkpoints.paths():
        assert Path(path).name == name(flr.load(path).state["steps"])


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [({"folder": 3}, TypeError, "`folder` must be a str"), ({"folder": ""}, ValueError, "`folder`"),
     ({"keep": 0}, ValueError, "`keep` must be None or an integer >= 1, got 0"),
     ({"keep": 2.0}, TypeError, "`keep` must be None or an integer >= 1, got 2.0"),
     ({"every": True}, TypeError, "`every` must be"), ({"every": -1}, ValueError, "`every` must be")],
)  # fmt: skip
def test_bad_arguments(tmp_path, arguments, error, said):
    with pytest.raises(error, match=said):
        flr.Checkpoints(**{"folder": tmp_path, **arguments})
    with pytest.raises(TypeError, match="`opt` must be an optimizer of pyfastlr, got"):
        flr.Checkpoints(tmp_path).save(np.ones(3), None)
