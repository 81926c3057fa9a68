"""The command line ``beanrow``: the top layer, one module for each verb or noun."""
