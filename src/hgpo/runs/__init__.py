"""What a run leaves and shows: its folder, the display, trackers, and what signals do to it."""
