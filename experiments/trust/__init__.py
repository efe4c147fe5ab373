"""How far probabilities can be trusted: calibration."""
