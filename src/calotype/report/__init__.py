"""Tables, figures and the gallery page over finished runs."""
