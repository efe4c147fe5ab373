"""Data that the project generates itself."""
