-- The callback that was received last, tests aside: they may be removed.
SELECT id, received_at FROM callbacks WHERE NOT test ORDER BY received_at DESC, id DESC LIMIT 1
