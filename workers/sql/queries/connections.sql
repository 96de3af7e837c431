-- How many clients are connected to this database.
SELECT numbackends FROM pg_stat_database WHERE datname = current_database()
