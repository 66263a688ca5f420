"""The loop, its schedules, checkpoints and run folders."""
