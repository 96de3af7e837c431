-- Replays of callbacks that are tests, of a source or of all: deletes up to a page of them.
DELETE FROM replays WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM replays
    WHERE callback_id IN (SELECT id FROM callbacks WHERE test) AND (%(source)s::text IS NULL OR source = %(source)s)
    LIMIT %(page)s))
