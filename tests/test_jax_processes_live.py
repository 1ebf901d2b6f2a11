"""pyfastlr.interop.jax in processes of its own: threads, forks, the end of the process, devices, caches, first uses."""

import sys
from importlib.util import find_spec

import pytest

from processes import run

pytestmark = pytest.mark.skipif(not find_spec("jax"), reason="jax is not installed")

START = """
import sys, threading, warnings
import numpy as np, jax, jax.numpy as jnp
import pyfastlr as flr, pyfastlr.interop.jax as fj
warnings.simplefilter("error", RuntimeWarning)
"""


def test_importing_pyfastlr_imports_no_jax():
    script = "import sys, pyfastlr, pyfastlr.interop; print(sorted({'jax', 'optax', 'numba'} & set(sys.modules)))"
    assert run(script) == "[]"


def test_without_jax_the_error_says_what_to_install():
    script = """
    import sys
    sys.modules["jax"] = None
    try:
        import pyfastlr.interop.jax
    except ModuleNotFoundError as error:
        print(error)
    """
    assert run(script) == "pyfastlr.interop.jax needs jax: pip install jax"


def test_without_optax_it_has_the_same_form():
    script = """
    import sys, importlib.util as util
    find = util.find_spec
    util.find_spec = lambda name, *more: None if name == "optax" else find(name, *more)
    import jax.numpy as jnp, pyfastlr.interop.jax as fj
    optimizer = fj.adam(0.1)
    init, update = optimizer
    p = jnp.ones(3)
    updates, state = update(p, init(p), p)
    p, _ = optimizer.apply(p, state, p)
    print(optimizer._fields, "optax" in sys.modules, int(state.count), round(float(p[0]), 3))
    """
    assert run(script) == "('init', 'update') False 1 0.9"


def test_first_use_while_a_program_is_compiled_in_many_threads(tmp_path):
    """Nothing is in the cache: threads compile our code while they compile their programs."""
    script = (
        START
        + """
def work(k):
    optimizer = (fj.adam, fj.sgd, fj.lion)[k % 3](flr.schedules.Cosine(0.1, steps=50 + k))
    p = jnp.ones(1000 + k)
    def body(carry, _):
        p, state = carry
        return optimizer.apply(p, state, p), None
    results[k] = jax.jit(lambda p: jax.lax.scan(body, (p, optimizer.init(p)), None, length=5)[0][0])(p)
results = {}
threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
[t.start() for t in threads]
[t.join() for t in threads]
print(len(results), all(bool(jnp.isfinite(x).all()) for x in results.values()))
"""
    )
    assert run(script, PYFASTLR_CACHE_DIR=str(tmp_path / "cache")) == "6 True"


def test_beside_our_own_optimizers_in_many_threads():
    """Programs of JAX and steps from Python use one pool; each has its own bits."""
    script = (
        START
        + """
flr_threads = 3
rng = np.random.default_rng(0)
start = rng.normal(size=300_000).astype(np.float32)
gradients = [rng.normal(size=start.size).astype(np.float32) for _ in range(3)]
want = start.copy()
opt = flr.Adam(want, 0.1, convention="optax", threads=1)
for k in range(30):
    opt.step(gradients[k % 3])
equal = []
def in_jax():
    optimizer = fj.adam(0.1, threads=flr_threads)
    step = jax.jit(lambda p, state, g: optimizer.apply(g, state, p), donate_argnums=(0, 1))
    p = jnp.array(start, copy=True)
    state = optimizer.init(p)
    for k in range(30):
        p, state = step(p, state, gradients[k % 3])
    equal.append(np.asarray(p).tobytes() == want.tobytes())
def in_python():
    p = start.copy()
    opt = flr.Adam(p, 0.1, convention="optax", threads=flr_threads)
    for k in range(30):
        opt.step(gradients[k % 3])
    equal.append(p.tobytes() == want.tobytes())
threads = [threading.Thread(target=f) for f in (in_jax, in_python) * 3]
[t.start() for t in threads]
[t.join() for t in threads]
print(equal)
"""
    )
    assert run(script) == str([True] * 6)


def test_the_process_may_end_while_steps_run():
    """JAX runs programs in the background, so the interpreter may end before they do."""
    script = (
        START
        + """
optimizer = fj.adam(0.1, threads=2)
step = jax.jit(lambda p, state, g: optimizer.apply(g, state, p), donate_argnums=(0, 1))
p = jnp.ones(3_000_000)
g, state = p * 1, optimizer.init(p)
for _ in range(20):
    p, state = step(p, state, g)
print("ends")
"""
    )
    for _ in range(5):
        assert run(script) == "ends"


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_fork_while_steps_run():
    """JAX itself cannot be used in the child, but our optimizers can."""
    script = (
        START
        + """
import os
warnings.simplefilter("ignore")
optimizer = fj.adam(0.1, threads=2)
step = jax.jit(lambda p, state, g: optimizer.apply(g, state, p), donate_argnums=(0, 1))
p = jnp.ones(2_000_000)
g, state = p * 1, optimizer.init(p)
for _ in range(8):
    p, state = step(p, state, g)
    child = os.fork()
    if not child:
        q = np.ones(2_000_000, np.float32)
        flr.Adam(q, 0.1, threads=2).step(np.ones_like(q))
        os._exit(0 if abs(q[7] - 0.9) < 1e-6 else 1)
    assert os.waitpid(child, 0)[1] == 0
print(int(state.count), float(p[5]) < 1)
"""
    )
    assert run(script) == "8 True"


def test_two_devices():
    """Arrays that are split over devices: under jit each step sees whole arrays, under shard_map and pmap its part."""
    script = (
        START
        + """
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
optimizer = fj.adamw(flr.schedules.Cosine(0.1, steps=9), weight_decay=0.1)
rng = np.random.default_rng(0)
p = {"w": jnp.asarray(rng.normal(size=(4, 6)), jnp.float32), "b": jnp.asarray(rng.normal(size=4), jnp.float32)}
g = jax.tree.map(lambda x: x * x, p)
want = jax.tree.leaves(optimizer.apply(g, optimizer.init(p), p)[0])
def same(got):
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in zip(jax.tree.leaves(got), want))
mesh = Mesh(np.array(jax.devices()), ("d",))
split = lambda x: jax.device_put(x, NamedSharding(mesh, P("d")))
q, h = jax.tree.map(split, p), jax.tree.map(split, g)
print(len(jax.devices()), same(jax.jit(optimizer.apply)(h, jax.jit(optimizer.init)(q), q)[0]), end=" ")
states = fj.State(P(), None, P("d"))
part = jax.shard_map(optimizer.apply, mesh=mesh, in_specs=(P("d"), states, P("d")), out_specs=(P("d"), states))
got, state = jax.jit(part)(h, optimizer.init(q), q)
print(same(got), got["w"].sharding.spec == P("d"), int(state.count), end=" ")
halves = lambda tree: jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), tree)
def one(p, g):
    return optimizer.apply(g, optimizer.init(p), p)[0]
got = jax.pmap(one)(halves(p), halves(g))
print(same(jax.tree.map(lambda x, y: x.reshape(y.shape), got, p)))
"""
    )
    assert run(script, XLA_FLAGS="--xla_force_host_platform_device_count=2") == "2 True True True 1 True"


def test_programs_in_a_persistent_cache(tmp_path):
    """A compiled program has no addresses of the process that compiled it."""
    script = (
        START
        + """
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
events = []
jax.monitoring.register_event_listener(lambda name, **more: events.append(name))
if sys.argv[2] == "2":
    fj.sgd(0.1).update(jnp.ones(3), fj.sgd(0.1).init(jnp.ones(3)))  # other addresses
optimizer = fj.adam(flr.schedules.Cosine(0.1, steps=9))
p = jnp.ones(1000)
p, state = jax.jit(optimizer.apply)(p, optimizer.init(p), p)
hits = events.count("/jax/compilation_cache/cache_hits")
print(np.asarray(p[:3]).tolist() == [np.float32(1) - np.float32(0.1)] * 3, hits > 0)
"""
    )
    assert run(script, tmp_path, "1") == "True False"
    assert run(script, tmp_path, "2") == "True True"
