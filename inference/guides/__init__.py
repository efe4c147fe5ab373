"""The guides q(w), one file each."""
