"""The demo: a web site, a producer, workers, and every job accounted for."""
