"""How the commands speak: progress, errors, tables, TensorBoard."""
