"""What a training leaves behind: its run directory, the files in it and the printed summary."""
