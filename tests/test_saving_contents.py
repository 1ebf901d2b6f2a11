"""Files with valid checksums and wrong contents are refused by name."""

import json

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr.files import Reader, write
from saved_runs import big, moment


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


def contents(path):
    with Reader(path) as file:
        return file.read(), {name: x for name, x in file.layout.metadata.items() if name != "pyfastlr"}


def test_wrong_contents_are_refused_by_name(path):
    params, opt = big(2, 10)
    flr.save(path, params, opt, a=1, b=np.arange(2), c=np.float32(3))
    arrays, metadata = contents(path)
    state, extra = (json.loads(metadata[key]) for key in ("state", "extra"))
    assert extra == {
        "extra": {"a": 1, "b": {"array": ["extra.b", "int64", [2]]}, "c": {"scalar": ["extra.c", "float32", []]}}
    }

    def text(x):
        return json.dumps(x)

    def without(name):
        return {key: x for key, x in arrays.items() if key != name}

    deep = "[" * 50_000 + "]" * 50_000
    cases = [
        ({**metadata, "params": "{"}, arrays, "JSON"),
        ({**metadata, "params": "[]"}, arrays, "JSON object"),
        ({**metadata, "params": '{"container": "array", "container": "array"}'}, arrays, "twice"),
        ({**metadata, "params": "{}"}, arrays, "metadata.'params'"),
        ({**metadata, "params": text({"container": "array"})}, arrays, "metadata.'params'"),
        ({**metadata, "params": text({"container": {"dict": [["w", "array"]] * 2}})}, arrays, "metadata.'params'"),
        ({**metadata, "params": text({"container": {"dict": [["w", "array"]]}})}, arrays, "metadata.'params'"),
        ({**metadata, "params": '{"container": ' + deep + "}"}, arrays, "deep|recursion"),
        ({key: x for key, x in metadata.items() if key != "params"}, arrays, "unknown keys|no other arrays|must have"),
        ({**metadata, "params": text({"container": "flat"})}, {**arrays, "params.w": np.ones(3, "i8")}, "Flat"),
        ({**metadata, "params": text({"container": "flat"})}, {**arrays, "params.w": np.ones(3, "f4")}, "Flat"),
        (metadata, without("params.b"), "metadata.'params'"),
        (metadata, {**arrays, "params.c": np.ones(1)}, "metadata.'params'"),
        ({**metadata, "extra": text({"extra": 3})}, arrays, "metadata.'extra'"),
        ({**metadata, "extra": "{}"}, arrays, "metadata.'extra'"),
        ({**metadata, "extra": text({"extra": {"float": "huge"}})}, arrays, "extra"),
        ({**metadata, "extra": text({"extra": {"x": {"array": ["counts", "int64", [2]]}}})}, arrays, "extra"),
        ({**metadata, "extra": text({"extra": {"x": {"array": [["extra.b"], "int64", [2]]}}})}, arrays, "extra"),
        (metadata, without("extra.b"), "extra.b"),
        (metadata, {**arrays, "extra.b": np.ones(2)}, "extra.b"),
        (metadata, {**arrays, "extra.b": np.ones(3, int)}, "extra.b"),
        (metadata, {**arrays, "extra.unused": np.ones(3, int)}, "extra.unused"),
        ({**metadata, "state": "{}"}, arrays, "missing keys"),
        ({**metadata, "state": text({**state, "structure": 3})}, arrays, "structure"),
        ({**metadata, "state": text({**state, "structure": [["w"]]})}, arrays, "structure"),
        ({**metadata, "state": text({**state, "container": "spaceship"})}, arrays, "container"),
        (metadata, without("counts"), "counts"),
        (metadata, without("state.exp_avg.w"), "state.exp_avg.w"),
        (metadata, {**arrays, "state.exp_avg.w": np.ones(11)}, "state.exp_avg.w"),
        (metadata, {**arrays, "state.exp_avg.w": np.ones(10, "f4")}, "state.exp_avg.w"),
        (metadata, {**arrays, "other": np.ones(1)}, "other"),
    ]  # fmt: skip
    for number, (texts, found, said) in enumerate(cases):
        write(path, found, texts)
        with pytest.raises(flr.BadFile, match=f"(?s)^{path}: .*({said})"):
            print(number, flr.load(path))
    for texts, found, said in [
        ({**metadata, "state": text({**state, "format": 99})}, arrays, r"state\['format'\]"),
        ({**metadata, "state": text({**state, "steps": 1.5})}, arrays, r"state\['steps'\]"),
        ({**metadata, "state": text({**state, "steps": {"float": "nan"}})}, arrays, r"state\['steps'\]"),
        ({**metadata, "state": text({**state, "steps": -1})}, arrays, r"state\['steps'\]"),
        (metadata, {**arrays, "counts": np.array([1, -1])}, r"state\['counts'\]"),
        (metadata, {**arrays, "counts": np.ones(3, int)}, "counts"),
        (metadata, {**arrays, "counts": np.full(2, np.nan)}, "counts"),
    ]:
        write(path, found, texts)
        for steps in (0, 2):
            _, other = big(steps, 10)
            before = moment(params, other)
            with pytest.raises((ValueError, TypeError), match=said):
                other.load(path)
            assert moment(params, other) == before
