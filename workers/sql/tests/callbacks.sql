-- Callbacks that are tests, of a source or of all: deletes up to a page of them.
DELETE FROM callbacks WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM callbacks
    WHERE test AND (%(source)s::text IS NULL OR source = %(source)s)
    LIMIT %(page)s))
