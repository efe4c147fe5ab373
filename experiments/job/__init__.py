"""What a run is made of: settings, features, tasks, training, results."""
