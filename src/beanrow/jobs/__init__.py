"""The jobs of a server, found, changed and kept: what the command line and the dashboard share.

Law: nothing here talks to a person or knows where one sits.
"""
