"""The client library: `Client` and `AsyncClient`."""
