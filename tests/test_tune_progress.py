"""tune.track: every item once, lines or bars, and a terminal that is left as it was."""

import dis
import io
import itertools
import os
import pty
import re
import select
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from rich.console import Console
from rich.errors import LiveError
from rich.live import Live

from processes import run
from pyfastlr import tune
from pyfastlr.tune.watching import displays, progress

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def lines(items, *arguments, body=lambda item: None, **options):
    """Items of the loop, and printed lines."""
    file = io.StringIO()
    came = []
    for item in tune.track(items, *arguments, console=Console(file=file, width=40), **options):
        came.append(item)
        body(item)
    return came, file.getvalue().splitlines()


# --- Lines ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "counts"),
    [(0, []), (1, [1]), (3, [1, 2, 3]), (10, range(1, 11)), (25, [3, 5, 8, 10, 13, 15, 18, 20, 23, 25])],
)
def test_a_line_for_each_tenth(n, counts):
    came, printed = lines(range(n))
    assert came == [*range(n)]
    assert printed == [f"{k:>{len(str(n))}}/{n}" for k in counts]


def test_the_latest_numbers_stand_in_the_line():
    r = tune.Recorder()

    def body(n):
        r.record(loss=1 / (n + 1), lr=0.1)
        if n == 4:
            r.record(n, **{"val[x]": 0.123456})

    _, printed = lines(range(10), r, body=body)
    assert printed[3] == " 4/10  loss 0.25  lr 0.1"
    assert printed[9] == "10/10  loss 0.1  lr 0.1  val[x] 0.1235"
    _, printed = lines(range(10), r, body=body, names=["lr", "later"], description="epoch [1]")
    assert printed[0] == "epoch [1]   1/10  lr 0.1"


def test_of_many_names_the_first_four_are_shown():
    r = tune.Recorder()
    _, printed = lines(range(1), r, body=lambda n: r.record(a=1, b=2, c=3, d=4, e=5))
    assert printed == ["1/1  a 1  b 2  c 3  d 4"]


@pytest.mark.parametrize(
    "make", [lambda: (x for x in range(7)), lambda: itertools.takewhile(lambda x: x < 7, range(9))]
)
def test_without_a_length_there_is_a_line_at_the_end_and_after_growing_times(make, monkeypatch):
    assert lines(make()) == ([*range(7)], ["7"])
    assert lines(make(), total=7)[1] == [f"{k}/7" for k in range(1, 8)]
    now = itertools.count(step=4.0)
    monkeypatch.setattr(displays.time, "monotonic", lambda: next(now))
    assert lines(itertools.chain(range(30)))[1] == ["2", "4", "9", "19", "30"]  # after 10 s, 20, 40 and 80


@pytest.mark.parametrize(
    "make", [lambda: [1, 2, 3], lambda: iter([1, 2, 3]), lambda: {1: 0, 2: 0, 3: 0}, lambda: (1, 2, 3)]
)
def test_the_length_is_what_len_or_the_hint_says(make):
    assert lines(make()) == ([1, 2, 3], ["1/3", "2/3", "3/3"])


def test_more_items_than_the_total():
    came, printed = lines(range(5), total=2)
    assert came == [*range(5)]
    assert printed == ["1/2", "2/2", "5/2"]


def test_a_loop_that_is_left_says_how_far_it_was():
    file = io.StringIO()
    console = Console(file=file)
    for n in tune.track(range(10), console=console):
        if n == 3:
            break

    def fail():
        for n in tune.track(range(20), console=console):
            1 / (n - 3)

    with pytest.raises(ZeroDivisionError):
        fail()

    def source():
        yield 1
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        list(tune.track(source(), console=console))
    assert file.getvalue().splitlines() == [" 1/10", " 2/10", " 3/10", " 2/20", " 3/20", "1"]


def test_a_generator_is_closed_by_close():
    t = tune.track(range(10), console=Console(file=io.StringIO()))
    assert next(t) == 0
    t.close()
    assert list(t) == []


def test_an_output_that_is_closed_does_not_end_the_loop():
    file = io.StringIO()
    console = Console(file=file)
    came = []
    for n in tune.track(range(20), console=console):
        came.append(n)
        if n == 5:
            file.close()
    assert came == [*range(20)]


def test_a_pipe_whose_reader_left_does_not_end_the_loop():
    program = """
        import os
        from pyfastlr import tune
        print(sum(1 for _ in tune.track(range(100_000))), flush=True)
    """
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, stderr=write, text=True
    )
    os.close(write)
    assert (done.returncode, done.stdout) == (0, "100000\n")


def test_lines_go_to_stderr():
    program = "from pyfastlr import tune\nfor n in tune.track(range(2)): print(n)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n1\n", "1/2\n2/2\n")


# --- Bars -------------------------------------------------------------------------------------------------------------


def terminal(program, send=None, status=0):
    """What a program writes to a terminal; `send` is a signal that it gets when it says "ready"."""
    main, other = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "90", "LINES": "30"}
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdin=other, stdout=other, stderr=other, env=environment,
        start_new_session=True,
    )  # fmt: skip
    os.close(other)
    data, end = b"", time.monotonic() + 120
    try:
        while time.monotonic() < end:
            if select.select([main], [], [], 1.0)[0]:
                try:
                    part = os.read(main, 1 << 16)
                except OSError:  # the terminal's other side is closed
                    break
                data += part
                if send is not None and b"ready" in data:
                    child.send_signal(send)
                    send = None
        assert child.wait(10) == status, data.decode()
    finally:
        child.kill()
        child.wait()
        os.close(main)
    return data.decode()


def plain(text):
    """The text without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def assert_clean(text):
    """The cursor is shown again at the end."""
    assert text.count(HIDE) == text.count(SHOW) >= 1
    assert text.rindex(SHOW) > text.rindex(HIDE)


def last_bar(text):
    return [x for x in re.split(r"[\r\n]+", plain(text)) if "━" in x][-1]


def test_a_bar_with_numbers():
    text = terminal("""
        from pyfastlr import tune
        r = tune.Recorder()
        for n in tune.track(range(1000), r, description="fit [x]"):
            r.record(loss=1 / (n + 1), lr=0.1)
    """)
    assert_clean(text)
    assert re.fullmatch(r"fit \[x\] ━+ 1000/1000 loss 0.001  lr 0.1 \d:\d\d:\d\d", last_bar(text).strip())


def test_nested_bars_and_what_is_printed_between():
    text = terminal("""
        from pyfastlr import tune
        for epoch in tune.track(range(3), description="epochs"):
            for batch in tune.track(iter(range(5)), description="batches"):
                pass
            for batch in tune.track((x for x in "abc"), description="unknown"):
                if batch == "b":
                    break
            print("done with", epoch)
    """)
    assert_clean(text)
    assert text.count(HIDE) == 1  # one display for all
    for epoch in range(3):
        assert f"done with {epoch}" in text
    assert re.match(r"epochs +━+ 3/3", last_bar(text))


@pytest.mark.parametrize("how", ["break", "1 / 0", "raise KeyboardInterrupt"])
def test_a_loop_that_is_left_leaves_a_clean_terminal(how):
    text = terminal(
        f"""
        from pyfastlr import tune
        try:
            for a in tune.track(range(4), description="outer"):
                for b in tune.track(range(4), description="inner"):
                    if (a, b) == (1, 2):
                        {how}
        except (ZeroDivisionError, KeyboardInterrupt):
            pass
        print("behind")
        for a in tune.track(range(2), description="again"):
            pass
        """
    )
    assert_clean(text)
    assert plain(text).index("behind") > plain(text).index("outer")
    assert re.match(r"again ━+ 2/2", last_bar(text))


def test_ctrl_c_leaves_a_clean_terminal():
    text = terminal(
        """
        import time
        from pyfastlr import tune
        def loop():
            for a in tune.track(range(10), description="outer"):
                for b in tune.track(range(10**9), description="inner"):
                    if b == 1000:
                        print("ready", flush=True)
        try:
            loop()
        except KeyboardInterrupt:
            print("stopped")
        """,
        send=signal.SIGINT,
    )
    assert_clean(text)
    assert text.rstrip().endswith("stopped")
    assert re.match(r"outer", last_bar(text))


def test_an_interrupt_between_two_rounds_finds_the_finally_too():
    """In Python 3.13 a jump back after an `if` is outside the `try`: a signal at that point left the bar."""
    code = dis.Bytecode(progress._tracked)

    def handler(offset):
        return next(x.target for x in code.exception_entries if x.start <= offset < x.end)

    wanted = {handler(x.offset) for x in code if x.opname == "YIELD_VALUE"}
    jumps = [x.offset for x in code if "JUMP_BACKWARD" in x.opname]
    assert jumps
    assert {handler(x) for x in jumps} == wanted


def test_threads_share_the_screen():
    text = terminal("""
        import threading
        from pyfastlr import tune
        sums = []
        def work(k):
            sums.append(sum(tune.track(range(2000), description=f"thread {k}")))
        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert sums == [sum(range(2000))] * 4
        from pyfastlr.tune.watching import displays
        assert not displays._screens
    """)
    assert_clean(text)


def test_where_another_display_has_the_terminal_there_are_lines_or_bars():
    """Older versions of rich have one display at a time, newer ones nest them: the loop runs in any case."""
    console = Console(file=io.StringIO(), force_terminal=True)
    with Live("mine", console=console):
        assert [*tune.track(range(3), console=console)] == [0, 1, 2]
    assert not displays._screens


def test_where_no_second_display_is_allowed_there_are_lines(monkeypatch):
    def refuse(self, refresh=False):
        raise LiveError("Only one live display may be active at once")

    monkeypatch.setattr(Live, "start", refuse)
    file = io.StringIO()
    assert [*tune.track(range(2), console=Console(file=file, force_terminal=True))] == [0, 1]
    assert file.getvalue().splitlines() == ["1/2", "2/2"]
    assert not displays._screens


def test_a_loop_that_the_program_s_end_leaves_open():
    text = terminal("""
        from pyfastlr import tune
        t = tune.track(range(5), description="open")
        next(t)
    """)
    assert_clean(text)
    assert "Traceback" not in text


def test_a_dumb_terminal_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    file = io.StringIO()
    list(tune.track(range(2), console=Console(file=file, force_terminal=True)))
    assert file.getvalue().splitlines() == ["1/2", "2/2"]


def test_the_clock_is_looked_at_rarely_in_a_short_loop():
    """Short iterations read the clock once in 16, long ones each time. Most draw nothing."""
    looks = []

    class Display:
        due = 1

        def begin(self): ...
        def end(self, done): ...

        def look(self, done):
            looks.append(done)
            self.due = done + displays.stride(done, done * 1e-6, (done - 1, (done - 1) * 1e-6))

    assert sum(1 for _ in progress._tracked(range(1600), Display())) == 1600
    assert len(looks) == 100
    assert displays.stride(5, 5.0, (4, 4.0)) == 1


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((5,), {}, "`iterable` must be iterable, got int"),
        ((range(3), []), {}, "`recorder` must be a Recorder or None, got list"),
        ((range(3),), {"total": -1}, "`total` must be an integer >= 0"),
        ((range(3),), {"total": 2.0}, "`total`"),
        ((range(3),), {"description": 1}, "`description` must be a str"),
        ((range(3),), {"names": "loss"}, "`names` must be a list of names or None, got 'loss'"),
        ((range(3),), {"names": [1]}, "`names`"),
        ((range(3),), {"names": 1}, "`names`"),
    ],
)
def test_errors_come_at_the_call(arguments, options, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        tune.track(*arguments, **options)
    assert words in str(caught.value)


def test_without_rich_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ModuleNotFoundError, match=r'track needs rich: pip install "pyfastlr\[cli\]"'):
        tune.track(range(3))


def test_the_tools_load_what_is_heavy_when_they_need_it():
    program = """
        import sys
        import pyfastlr.tune
        print([x for x in ("rich", "matplotlib", "numba", "tensorboardX", "scipy") if x in sys.modules])
    """
    assert run(program) == "[]"
