"""The files of a run, its progress display, experiment trackers, and the handling of signals."""
