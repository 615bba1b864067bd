"""What the logic needs: `work` for jobs and sandboxes, `running` for runs and pilots."""
