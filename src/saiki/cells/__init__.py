"""What a recurrence is: one file a family, equations as the textbook writes them."""
