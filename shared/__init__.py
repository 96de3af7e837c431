"""The words and rules that ingress and workers share. Imports neither starlette, celery nor psycopg."""
