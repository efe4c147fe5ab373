"""Tables and figures over many runs, and other packages' methods on the same tasks."""
