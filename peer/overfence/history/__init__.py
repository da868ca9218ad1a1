"""What was said: events, their logs, and the database they live in."""
