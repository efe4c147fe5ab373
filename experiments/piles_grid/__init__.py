"""Piles of pictures that are classified from a few labels, measured."""
