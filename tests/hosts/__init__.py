"""Hosts for the tests of the roles: containers with systemd and sshd that look like bare machines."""
