"""What the logic needs: `work` for jobs and sandboxes, `running` for runs, `pilots` for pilots."""
