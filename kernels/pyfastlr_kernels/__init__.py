"""The compiled part of pyfastlr: rules, schedule curves, and the drivers that run them.

Nothing here imports pyfastlr. See docs/architecture.md for the map.
"""
