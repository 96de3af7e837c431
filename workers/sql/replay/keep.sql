-- Corrects what store.sql cannot know of a callback that was stored before.
UPDATE callbacks SET outcome = %(outcome)s, conflict = conflict OR %(conflict)s
WHERE received_at = %(received_at)s AND id = %(id)s
