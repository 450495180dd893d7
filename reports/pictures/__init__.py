"""The figures of a report, one a file, whose name is the figure's: each takes a setting and returns a picture, or None."""
