-- One callback by its id, which holds the millisecond of received_at, the first column of the key.
SELECT id, inbox_id, source, provider, received_at, method, query, headers, body, host(remote_ip) AS remote_ip,
    outcome, conflict, test
FROM callbacks
WHERE received_at >= %(from)s AND received_at < %(to)s AND id = %(id)s
