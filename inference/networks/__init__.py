"""Feature networks that a learner is given in place of its own."""
