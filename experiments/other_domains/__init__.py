"""Learners and simple methods measured on domains that nobody trained on."""
