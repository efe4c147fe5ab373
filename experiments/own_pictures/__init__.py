"""Classifying a user's own pictures from a few labeled ones."""
