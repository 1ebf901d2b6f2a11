"""What type checkers must refuse, each on a line that ends in E: checked, never run (tests/test_types.py)."""

import numpy as np

import pyfastlr as flr

w = np.ones(3)
opt = flr.Adam(w)
flr.Adam(w, lr="0.1")  # E
flr.Adam(w, betas=0.9)  # E
flr.Adam(w, eps=(1e-8, 1e-8))  # E
flr.Adam(w, weight_decay="much")  # E
flr.Adam(w, convention="tensorflow")  # E
flr.Adam(w, decay="l2")  # E
flr.Adam(w, groups={"params": "w"})  # E
flr.Adam(w, threads="all")  # E
flr.Adam(w, maximize=None)  # E
flr.Adam(42)  # E
flr.Adam()  # E
flr.Adam(w, 0.1, (0.9, 0.9))  # E
flr.Adam(w, momentum=0.9)  # E
flr.SGD(w, nesterov=1)  # E
flr.SGD(w, clip_norm="1")  # E
flr.SGD(w, nonfinite="ignore")  # E
flr.SGD(w, accumulate_mode="max")  # E
flr.SGD(w, loss_scale=1024.0)  # E
flr.SGD(w, zero_grad=None)  # E
flr.SGD(w, catch_up=None)  # E
flr.Rows(w)  # E
flr.SGD(w).step_rows(0, [0], w)  # E
limit: float = opt.clip_norm  # E
opt.ema_decay = "0.9"  # E
opt.lr = "0.1"  # E
opt.betas = 0.9  # E
opt.rate = 0.1  # E
opt.step()  # E
opt.step(w, scale=2.0)  # E
flr.Adagrad(w)  # E
flr.kernels.adam(w, w, (w, w), 0)  # E
flr.kernels.momentum(w, w, (w,), 0, 0.1)  # E
