"""How a network learns: rules, optimisers, schedules, stopping, checkpoints, the trainer and its observers."""
