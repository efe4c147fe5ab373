"""The class of what belongs to none of a task's classes, and how its numbers are fitted."""
