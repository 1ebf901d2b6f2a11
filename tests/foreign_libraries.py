"""Code for a process with a library's schedules by name, and ``at(schedule, n)``: their values at indices n."""

PREPARE = {  # Keras and optax need float64 for the whole process
    "keras": """
import keras
keras.config.set_floatx("float64")
from keras.optimizers.schedules import *
def at(s, n):
    return [float(s(i)) for i in n]
""",
    "optax": """
import jax
import numpy as np
import optax
jax.config.update("jax_enable_x64", True)
from optax.schedules import *
def at(s, n):
    return np.broadcast_to(np.array(jax.vmap(s)(np.array(n)), float), len(n)).tolist()
""",
    "timm": """
import importlib.util, sys, types
import torch
# timm itself imports torchvision, which must be built for exactly this torch. Its schedulers do not need it.
package = types.ModuleType("timm")
package.__path__ = importlib.util.find_spec("timm").submodule_search_locations
sys.modules["timm"] = package
from timm.scheduler import *
import timm.scheduler as library
lr = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
def at(s, n):
    rates = []
    for i in n:
        s.step(i)
        rates.append(lr.param_groups[0]["lr"])
    return rates
""",
    "transformers": """
import torch
from transformers import optimization
from transformers.optimization import *
lr = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
def at(s, n):
    return [s.base_lrs[0] * s.lr_lambdas[0](i) for i in n]
""",
    # fastai needs many packages. Its schedules are a few functions, run here as they stand in its source, with float64
    # where its `tensor` makes float32, and methods of a learner that only keeps the schedule.
    "fastai": """
import ast, functools, importlib.util, math, pathlib, types
import numpy as np
import torch
root = pathlib.Path(importlib.util.find_spec("fastai").submodule_search_locations[0])
source = (root / "callback" / "schedule.py").read_text(encoding="utf-8")
class L(list):
    def __init__(self, items=None):
        super().__init__([] if items is None else items)
class ParamScheduler:
    def __init__(self, scheds):
        self.scheds = scheds
    def __add__(self, others):
        return [self, *others]
def store_attr(names):
    pass
def tensor(items):
    return torch.tensor(list(items), dtype=KIND)
KIND = torch.float64
theirs = dict(globals(), patch=lambda f: f, delegates=lambda x: lambda f: f)
theirs["Learner"] = types.SimpleNamespace(fit_one_cycle=None)
for node in ast.parse(source).body:
    if getattr(node, "name", "").lower().startswith(("_annealer", "sched_", "sched", "combine", "fit_", "fine_tune")):
        if node.name == "_Annealer":
            node.body[0].body = ast.parse("self.f, self.start, self.end = f, start, end").body
        exec(compile(ast.fix_missing_locations(ast.Module([node], [])), "schedule.py", "exec"), theirs)
class Run:
    moms = (0.95, 0.85, 0.95)
    lr = None
    def __init__(self, batches):
        self.opt, self.batches, self.parts = self, batches, []
        self.hypers = [{}]
    def set_hyper(self, name, value):
        self.hypers[-1][name] = value.stop if isinstance(value, slice) else value
    def freeze(self):
        pass
    unfreeze = freeze
    def fit(self, epochs, cbs, **_):
        self.parts.append((cbs[0].scheds["lr"], epochs * self.batches))
    def fit_one_cycle(self, *args, **kwargs):
        theirs["fit_one_cycle"](self, *args, **kwargs)
def learner(name, *args, batches=1, **kwargs):
    run = Run(batches)
    theirs[name](run, *args, **kwargs)
    return run.parts
def SchedLin(a, b, steps=1): return [(theirs["SchedLin"](a, b), steps)]
def SchedCos(a, b, steps=1): return [(theirs["SchedCos"](a, b), steps)]
def SchedNo(a, b, steps=1): return [(theirs["SchedNo"](a, b), steps)]
def SchedExp(a, b, steps=1): return [(theirs["SchedExp"](a, b), steps)]
def SchedPoly(a, b, power, steps=1): return [(theirs["SchedPoly"](a, b, power), steps)]
def combine_scheds(pcts, scheds, steps): return [(theirs["combine_scheds"](pcts, [s[0][0] for s in scheds]), steps)]
def combined_cos(*args): return [(theirs["combined_cos"](*args[:-1]), args[-1])]
def fit_one_cycle(lr, steps, **kwargs): return learner("fit_one_cycle", steps, lr, **kwargs)
def fit_flat_cos(lr, steps, *args): return learner("fit_flat_cos", steps, lr, *args)
def fit_sgdr(lr, cycles, length, batches, **kwargs):
    return learner("fit_sgdr", cycles, length, lr, batches=batches, **kwargs)
def fine_tune(lr, epochs, batches, **kwargs): return learner("fine_tune", epochs, lr, batches=batches, **kwargs)
def at(parts, n):
    rates = []
    for i in n:
        for k, (f, steps) in enumerate(parts):
            if i < steps or k == len(parts) - 1:
                break
            i -= steps
        rates.append(float(np.squeeze(f(min(i / steps, 1.0)))))
    return rates
""",
}
