"""The routes of the workload system, one module per group."""

from dirac.systems.workload.api import jobs, sandboxes

routers = (jobs.router, sandboxes.router, sandboxes.store_router)
