"""Identity: users, groups, properties, tokens, pilots' secrets."""
