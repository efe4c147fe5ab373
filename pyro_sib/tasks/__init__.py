"""Tasks drawn from a data set: which rows, how many, moved or not."""
