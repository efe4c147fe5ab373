"""Regression on sinusoids, whose exact posterior is known."""
