"""Settings, the composition root and the commands people run."""
