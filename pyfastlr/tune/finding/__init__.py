"""The range test: sweep the learning rate, and derive suggestions from the losses."""
