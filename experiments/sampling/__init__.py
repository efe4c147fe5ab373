"""Checks of the posterior by sampling: NUTS on single tasks, simulation-based calibration."""
