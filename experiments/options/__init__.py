"""Options that commands share: a file for each subject, whose classes a command's settings inherit as they need."""
