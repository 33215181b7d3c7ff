"""Worker processes: how they are started, asked and what environment they run in."""
