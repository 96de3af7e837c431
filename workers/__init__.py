"""Inbox → events → rows. The only half that speaks PostgreSQL."""
