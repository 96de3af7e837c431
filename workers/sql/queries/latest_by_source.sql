-- When the latest callback of each source came, as far as it is one of the latest callbacks of all.
SELECT source, max(received_at)
FROM (SELECT source, received_at FROM callbacks ORDER BY received_at DESC, id DESC LIMIT %(limit)s) AS recent
GROUP BY source
