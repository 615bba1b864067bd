"""The demo: what bin/demo runs once the server is up."""
