"""The forms in which people keep data sets: class folders, csv lists, pickles."""
