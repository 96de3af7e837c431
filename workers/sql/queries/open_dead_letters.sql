-- How many dead letters of each source are open.
SELECT source, count(*) FROM dead_letters WHERE state = 'open' GROUP BY source
