"""Third-party clients against a real node process."""
