-- Delivery reports that are tests, of a source or of all: deletes up to a page of them.
DELETE FROM delivery_reports WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM delivery_reports
    WHERE test AND (%(source)s::text IS NULL OR source = %(source)s)
    LIMIT %(page)s))
