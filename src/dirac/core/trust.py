"""Names of the environment variables that say whose certificates programs on this machine believe."""

CA_FILE = "DIRAC_CA_FILE"
"""A PEM file of authorities, beside those of the machine."""

CA_DIRECTORY = "X509_CERT_DIR"
"""A directory of authorities, hashed as OpenSSL does, as grid sites have it."""

TRUST_VARIABLES = (CA_FILE, CA_DIRECTORY, "SSL_CERT_FILE", "SSL_CERT_DIR")
"""All of them; not secret, and worth inheriting."""
