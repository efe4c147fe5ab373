"""The unrolled steps: what stands for the gradient, the KL's part, how psi enters."""
