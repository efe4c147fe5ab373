"""Empirical Bayes few-shot learning with synthetic gradients: data, episodes, features, metrics."""
