"""The version of this pilot; the build replaces it."""

VERSION = "0+source"
