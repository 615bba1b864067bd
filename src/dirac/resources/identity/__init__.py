"""Where people prove who they are."""
