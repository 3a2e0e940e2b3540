"""Figures, tested against oracles."""
