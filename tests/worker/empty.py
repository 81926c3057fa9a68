"""An app without tasks."""

from beanrow import App

app = App()
