"""What the logic of the workload system needs: `work` for jobs and sandboxes, `running` for runs and pilots."""
