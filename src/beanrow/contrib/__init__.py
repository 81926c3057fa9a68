"""beanrow inside other people's programs: one module for each framework, with its own import.

Law: nothing here is needed by, or imported from, the rest of beanrow; each module imports its
framework at its head, so a missing one shows at once.
"""
