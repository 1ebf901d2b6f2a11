"""`python -m bench --sklearn --thinc`: what it measures is the same work, and what it says follows from the times."""

import pytest

from bench import __main__ as command
from bench import adapters
from pyfastlr.benchmark.interleave import Times


def contest(theirs, ours):
    return adapters.Contest("work", Times(tuple(theirs), 1), Times(tuple(ours), 1))


@pytest.mark.parametrize(
    ("theirs", "ours", "verdict"),
    [
        ([2.0, 2.1, 2.2], [1.0, 1.0, 1.1], "ahead"),
        ([1.0, 1.1, 1.2], [1.0, 1.0, 1.1], "NOT AHEAD"),  # by medians only
        ([1.0, 1.0, 1.0], [1.1, 1.1, 1.1], "NOT AHEAD"),
        ([2.0, 4.0, 9.0], [1.0, 1.0, 1.1], "disturbed"),
        ([2.0, 2.1, 2.2], [1.0, 1.0, 2.9], "disturbed"),
    ],
)
def test_verdicts(theirs, ours, verdict):
    found = contest(theirs, ours)
    assert str(found).endswith("  " + verdict)
    assert found.as_json()["ratio"] == min(theirs) / min(ours)
    assert found.as_json()["theirs"]["samples"] == 3


def test_fits(monkeypatch, capsys):
    monkeypatch.setattr(adapters, "FITS", {"small": ((60, 4, 3), {"hidden_layer_sizes": (5,), "max_iter": 2})})
    found = command.every_adapter(0.0, ["sklearn"])
    (row,) = found["sklearn"]
    assert row["ours"]["minimum"] > 0
    assert "  small" in capsys.readouterr().out


def test_updates(monkeypatch, capsys):
    pytest.importorskip("thinc")
    monkeypatch.setattr(adapters, "SHAPES", {"small": ((7,), (3, 2))})
    found = command.every_adapter(0.0, ["thinc"])
    assert [row["name"] for row in found["thinc"]] == [f"{name}: small" for name in adapters.SETTINGS]
    assert "small" in capsys.readouterr().out


def test_a_library_that_is_missing_is_named(monkeypatch, capsys):
    def missing(seconds):
        raise ModuleNotFoundError("No module named 'thinc'")

    monkeypatch.setitem(command.ADAPTERS, "thinc", (missing, "updates"))
    assert command.every_adapter(0.0, ["thinc"]) == {}
    assert "skipped: No module named 'thinc'" in capsys.readouterr().out


def test_other_work_is_an_error(monkeypatch):
    from pyfastlr.interop import sklearn

    monkeypatch.setattr(adapters, "FITS", {"small": ((60, 4, 3), {"hidden_layer_sizes": (5,), "max_iter": 9})})
    recipe = sklearn._recipe

    def faster(model):
        found = recipe(model)
        return found._replace(arguments={**found.arguments, "lr": 0.5})

    monkeypatch.setattr(sklearn, "_recipe", faster)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        adapters.fits(0.0)
