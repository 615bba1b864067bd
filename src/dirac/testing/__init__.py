"""Fakes and misbehaving twins of what the world offers, for tests of this and other projects."""
