"""Commands about sites: what an operator does with the playbooks of a checkout."""
