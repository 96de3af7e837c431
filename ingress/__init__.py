"""HTTP → Callback → inbox. Nothing here waits for PostgreSQL, and nothing of a payload is parsed."""
