-- Takes a callback away: store.sql stores it anew in the same transaction.
DELETE FROM callbacks WHERE received_at = %(received_at)s AND id = %(id)s
