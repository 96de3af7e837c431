"""Everything on one machine: the servers, the processes of Callbox, and a simulator of the providers."""
