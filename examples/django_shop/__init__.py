"""A shop in Django that confirms orders by mail: settings, tasks, a view, and the admin."""
