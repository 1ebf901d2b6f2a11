"""What type checkers must accept: checked, never run (tests/test_types.py)."""

from pathlib import Path

import numpy as np

import pyfastlr as flr
from pyfastlr import schedules as S

w, b = np.ones(3), np.ones(2)
opt = flr.Adam(w, 0.1, betas=(0.9, 0.99), weight_decay=lambda n: 0.1, groups=[{"params": "w", "lr": 1e-3}])
flr.AdamW([w, b], lr=S.Cosine(1e-3, steps=10).warmup(3), lr_scale=0.5, decay="coupled", convention="keras")
flr.AdamW({"w": w, "layer": {"b": b}}, lr_scale={"w": w, "layer": {"b": b}}, threads=2, maximize=True)
flr.SGD(flr.Flat([w]), momentum=0.9, nesterov=True)
flr.AdaGrad(w, initial_accumulator_value=0.1, lr_decay=0.5)
flr.RMSProp(params=w, lr=1e-2, centered=True)

opt.lr = 0.3
opt.lr = S.Linear(0.1, 0.0, steps=5)
opt.lr = lambda n: 0.1 / (n + 1)
opt.betas = (S.Constant(0.9), 0.999)
opt.decay = "independent"
rate: float = opt.lr
pair: tuple[float, float] = opt.betas
lr_of_group: object = opt.groups[0]["lr"]
kept: object = opt.params
opt.step(np.ones(3))
opt.step({"w": None}, inv_scale=0.5)
steps: int = opt.steps
used: float | None = opt.stats.lr
state: dict[str, object] = opt.state_dict()
loaded: flr.Loaded = opt.load_state_dict(state, hyperparameters=False, strict=False, cast=True)
missing: tuple[str, ...] = loaded.missing
arrays: dict[str, np.ndarray] = flr.flatten_state(state)
opt.load_state_dict(flr.unflatten_state(arrays))
opt.add({"v": w.copy()}, lr=0.1)
opt.save(Path("state.safetensors"), progress=lambda done, total: print(done / total))
again: flr.Loaded = opt.load("state.safetensors", hyperparameters=False)
flr.save("run.safetensors", {"w": w}, opt, epoch=3)
saved: flr.Saved = flr.load("run.safetensors")
of_run: dict[str, object] | None = saved.state
checkpoints = flr.Checkpoints("folder", keep=3, every=100)
place: str | None = checkpoints.save({"w": w}, opt, epoch=3)
latest: flr.Saved | None = checkpoints.latest()

opt = flr.Adam(w, clip_norm=1.0, clip_norm_each=S.Constant(1.0), clip_value=lambda n: 1.0, ema_decay=None)
flr.Adam(w, nonfinite="skip", zero_grad=True, accumulate=2, accumulate_mode="sum", copy_to=w.copy())
flr.Adam([w], loss_scale=flr.LossScale(interval=100), measure=("update_norm", "per_tensor"))
opt.clip_norm = None
opt.clip_norm = S.Linear(2.0, 1.0, steps=5)
limit: float | None = opt.clip_norm
norm: float | None = opt.stats.grad_norm
skipped: bool | None = opt.stats.skipped
each: dict[str, flr.Stats] | None = opt.stats.per_tensor
average: object = opt.ema
opt.swap_ema()
with opt.averaged():
    pass
scale: flr.LossScale | None = opt.loss_scale
flr.from_torch(flr.to_torch(opt, tensors=False), opt, names=["w"], steps=3, hyperparameters=False, cast=True)
flr.from_optax((), flr.SGD(w), steps=3)
flr.to_optax(opt, like=())
arrays_of_keras: dict[str, object] = flr.to_keras(opt, learning_rate=True)
flr.from_keras([], opt, names=["w"])

flr.kernels.adam(w, w.copy(), (w.copy(), w.copy()), 0, 0.1, betas=(0.9, 0.99))
flr.kernels.momentum(w, w.copy(), (w.copy(),), 0, 0.1, momentum=0.9)

opt = flr.Adam({"t": w}, catch_up=True)
opt.step({"t": flr.Rows([0, 2], w)}, inv_scale=0.5)
opt.step_rows("t", w > 0, w, inv_scale=0.5)
opt.sync_rows("t")
opt.sync_rows("t", [1])
