"""HTTP, for servers and clients: application base, routes with policies, errors on the wire."""
