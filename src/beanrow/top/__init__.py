"""The live view in the terminal: ``beanrow top``. Needs the extra ``top``."""
