-- Whether a source has stored events that no test made.
SELECT EXISTS (SELECT FROM inbound_messages WHERE source = %(source)s AND NOT test)
    OR EXISTS (SELECT FROM delivery_reports WHERE source = %(source)s AND NOT test)
