"""Feature networks: training them, keeping them, computing every image's features."""
