"""The rate above which an optimizer is unstable, from the curvature of the loss."""
