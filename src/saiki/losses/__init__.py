"""Pure functions, one value a row; the caller reduces."""
