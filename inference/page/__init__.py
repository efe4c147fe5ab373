"""A prediction as one web page."""
