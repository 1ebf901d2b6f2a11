"""The measurements behind docs/choosing.md, one module for each section. scripts/choosing_page.py runs them."""
