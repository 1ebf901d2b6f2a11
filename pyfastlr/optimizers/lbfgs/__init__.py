"""L-BFGS. It is no rule of the kernels: a step takes a closure, and decides from losses how far it goes."""
