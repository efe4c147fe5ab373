"""The unrolled steps: what stands for the gradient, the KL's part, the fast path."""
