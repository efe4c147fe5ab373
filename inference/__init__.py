"""The inference side: guides, initializers, synthetic gradients, the SVI loop, prediction."""
