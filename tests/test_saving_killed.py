"""kill -9 at any moment of a save: the file is the old or the new one, whole."""

import os
import random

import pytest

from processes import run

KILLS = int(os.environ.get("PYFASTLR_TEST_KILLS", "30"))  # the promise was checked with 300
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill -9")

# The child saves over and over, each time a state with another number of updates; the parent kills it after a random
# time, and loads. All of a file must be of one moment, and no older than what was there before the child began.
SCRIPT = """
    import os, random, signal, sys, time
    import numpy as np
    import pyfastlr as flr

    folder, kills, seed, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    path, rng, n = os.path.join(folder, "run.safetensors"), random.Random(seed), 40_000
    g = np.full(n, -1.0)
    params = np.zeros(n)
    opt = flr.SGD(params, lr=1.0, momentum=1e-9, threads=1)
    opt.step(g)
    checkpoints = flr.Checkpoints(folder, keep=2)

    def save():
        if kind == "file":
            flr.save(path, params, opt, steps=opt.steps)
        else:
            checkpoints.save(params, opt, steps=opt.steps)

    def check(least):
        saved = flr.load(path) if kind == "file" else flr.Checkpoints(folder).latest()
        steps = saved.extra["steps"]
        assert saved.state["steps"] == steps >= least, (saved.state["steps"], steps, least)
        assert saved.params.tobytes() == np.full(n, saved.params[0]).tobytes()
        momentum = saved.state["state"]["momentum_buffer"]
        assert momentum.tobytes() == np.full(n, momentum[0]).tobytes()
        assert round(saved.params[0]) == steps, (saved.params[0], steps)
        again = flr.SGD(np.zeros(n), lr=1.0, momentum=1e-9, threads=1)
        if kind == "file":
            again.load(path)
            assert again.steps == steps
        return steps

    start = time.perf_counter()
    for _ in range(3):
        save()
        opt.step(g)
        save()
    one = (time.perf_counter() - start) / 6
    newer = same = left = 0
    before = check(1)
    for _ in range(kills):
        ready, tell = os.pipe()
        child = os.fork()
        if not child:
            while True:  # until it is killed
                opt.step(g)
                if tell is not None:
                    os.write(tell, b"x")
                    os.close(tell)
                    tell = None
                save()
        os.close(tell)
        assert os.read(ready, 1) == b"x"
        os.close(ready)
        time.sleep(rng.uniform(0, 2.5 * one))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        now = check(before)
        newer, same, before = newer + (now > before), same + (now == before), now
        while opt.steps < now:
            opt.step(g)
        checkpoints.latest()
        names = [name for name in os.listdir(folder) if name.endswith(".tmp")]
        left += bool(names)
        for name in names:  # as if a minute had passed
            os.utime(os.path.join(folder, name), (time.time() - 100,) * 2)
        if names:
            checkpoints.save(params, opt, steps=opt.steps)
            before = max(before, opt.steps)
            assert not [name for name in os.listdir(folder) if name.endswith(".tmp")]
            if kind == "file":
                os.unlink(checkpoints.paths()[-1])
    print(newer, same, left)
"""


@pytest.mark.parametrize("kind", ["file", "checkpoints"])
def test_no_kill_loses_a_file(tmp_path, kind):
    counts = run(SCRIPT, tmp_path, KILLS, random.randrange(2**32), kind).split()
    newer, same, left = map(int, counts)
    print(f"{kind}: {newer} times a newer file, {same} times the older one, {left} times a temporary file was left")
    assert newer + same == KILLS
    assert newer > 0
    assert left > 0
