"""Studies: what is run, kept and reported. So far the demonstration."""
