"""Compiled loops of the searches; imported inside the functions that call them."""
