-- The largest id of each table that is followed; 0 for an empty one.
SELECT coalesce((SELECT max(id) FROM inbound_messages), 0) AS messages,
    coalesce((SELECT max(id) FROM delivery_reports), 0) AS reports,
    coalesce((SELECT max(id) FROM dead_letters), 0) AS dead_letters
