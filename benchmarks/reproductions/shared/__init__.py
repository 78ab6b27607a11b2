"""What the tasks share; no task itself."""
