"""How sequences come in: tables, windows, scaling, splits, built-in and generated sets."""
