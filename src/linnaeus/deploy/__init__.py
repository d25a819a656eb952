"""A trained classifier at work."""
