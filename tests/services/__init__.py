"""Private servers for the tests: databases, a broker, OpenID providers, others.

They need no root, and listen on free ports of the loopback interface.

`python -m tests.services install` gets what is missing, `python -m tests.services check` starts each once;
the fixtures in `fixtures` are what tests ask for. Settings, all in the environment:

* ``DIRAC_TEST_SERVICES=private``: fetch the distribution's packages even when servers are installed.
* ``DIRAC_TEST_SERVICES_DIR``: where to keep what was fetched, instead of ``.test/services`` of the checkout.
* ``DIRAC_TEST_MARIADB_ROOT``, ``DIRAC_TEST_POSTGRESQL_ROOT``, ``DIRAC_TEST_RABBITMQ_ROOT``,
  ``DIRAC_TEST_SSHD_ROOT``: use the programs below this directory (the one that holds ``usr/``).
"""
