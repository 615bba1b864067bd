"""X.509 as grids use it: names, proxies of RFC 3820 and older, VOMS attribute certificates. No I/O."""
