"""Looking inside: curves, pictures and the HTML report."""
