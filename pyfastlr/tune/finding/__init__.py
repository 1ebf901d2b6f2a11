"""The range test: sweep the rate, and read suggestions from the curve of the loss."""
