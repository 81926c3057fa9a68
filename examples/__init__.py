"""Programs that show beanrow at work."""
