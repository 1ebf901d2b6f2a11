"""Line searches over the parameters as one vector: for `LBFGS`, and for `pyfastlr.tune`."""
