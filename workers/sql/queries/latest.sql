-- The callback that was received last, of those that nothing removes: tests may be, and a replay gives another id to one
-- whose bytes could not be read.
SELECT id, received_at FROM callbacks WHERE NOT test AND outcome <> 'dead' ORDER BY received_at DESC, id DESC LIMIT 1
