"""Django finds commands by the names of the modules here."""
