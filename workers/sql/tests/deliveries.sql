-- Deliveries that only tests reported, of a source or of all: deletes up to a page of them.
DELETE FROM deliveries WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM deliveries
    WHERE test AND (%(source)s::text IS NULL OR source = %(source)s)
    LIMIT %(page)s))
