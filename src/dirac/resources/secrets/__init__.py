"""Where secrets are: environment, files, encrypted files, Vault."""
