"""What is driven outside: computing elements, storage, catalogues, identity providers."""
