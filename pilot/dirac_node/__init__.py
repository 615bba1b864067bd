"""The launcher of a worker node: asks the server for pilots and starts them, each confined to its slot."""
