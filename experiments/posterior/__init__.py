"""A posterior's file, its diagnostics and their pictures."""
