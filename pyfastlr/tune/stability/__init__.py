"""The rate at which an optimizer turns unstable, from the curvature of the loss."""
