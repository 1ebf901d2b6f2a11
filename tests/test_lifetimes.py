"""Every step checks the current parameters and rates. It refuses a changed one by name and never writes to it."""

import re

import numpy as np
import pytest

import pyfastlr as flr

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # numpy's, of arrays changed in place

CHANGES = {
    "read-only": lambda x: setattr(x.flags, "writeable", False),
    "dtype": lambda x: setattr(x, "dtype", np.int64),
    "shape": lambda x: setattr(x, "shape", (2, 3)),
    "strides": lambda x: setattr(x, "strides", (0,)),
    "smaller": lambda x: x.resize(4, refcheck=False),
    "larger": lambda x: x.resize(100_000, refcheck=False),
}
CONTAINERS = {
    "array": (lambda x: x, "params"),
    "list": (lambda x: [np.ones(2), x], "params[1]"),
    "dict": (lambda x: {"w": np.ones(2), "b": x}, "params['b']"),
    "nested": (lambda x: {"layer": [x, (np.ones(2),)]}, "params['layer.0']"),
}


def gradients(container):
    if isinstance(container, dict):
        return {key: gradients(x) for key, x in container.items()}
    return (
        type(container)(map(gradients, container)) if isinstance(container, list | tuple) else np.ones(container.shape)
    )


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("after", [0, 1], ids=["first", "later"])
def test_a_changed_parameter_is_refused_by_name(container, change, after):
    make, name = CONTAINERS[container]
    x = np.zeros(6)
    params = make(x)
    grads = gradients(params)
    opt = flr.SGD(params, lr=0.5, momentum=0.5)
    for _ in range(after):
        opt.step(grads)
    state = opt.state_dict()
    CHANGES[change](x)
    before = x.tobytes()
    with pytest.raises(ValueError, match=re.escape(f"`{name}`")):
        opt.step(grads)
    assert x.tobytes() == before
    assert (opt.steps, opt.state_dict()["counts"].tolist()) == (after, state["counts"].tolist())


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "read-only"])  # they are only read
def test_changed_rates_by_element_are_refused_by_name(change):
    p, rates = np.zeros(6), np.ones(6)
    opt = flr.SGD(p, lr=0.5, lr_scale=rates)
    opt.step(np.ones(6))
    CHANGES[change](rates)
    before = p.tobytes()
    with pytest.raises(ValueError, match="`lr_scale`"):
        opt.step(np.ones(6))
    assert p.tobytes() == before
    assert opt.steps == 1


def test_a_changed_gradient_is_refused_by_name():
    p, g = np.zeros(6), np.ones(6)
    opt = flr.SGD(p, lr=0.5)
    opt.step(g)
    g.resize(3, refcheck=False)
    with pytest.raises(ValueError, match="`grads`"):
        opt.step(g)
    assert (p == -0.5).all()


def test_params_is_the_container_that_was_given():
    params = {"w": np.zeros(3)}
    assert flr.SGD(params, lr=0.5).params is params
