"""Sweepers beside Hydra's own, which looks for them in this name space."""
