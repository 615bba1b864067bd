"""The routes of the workload system, one module per group.

`store_router` belongs to an application whose object store is a `DirectoryStore`; its
`UPLOAD_PATH` takes bodies larger than others may be: what was signed for is the limit.
"""

from dirac.resources.storage.directory import UPLOAD_PATH
from dirac.systems.workload.api import control, descriptions, jobs, nodes, pilots, running, sandboxes, sites

__all__ = ["UPLOAD_PATH", "routers", "store_router"]

routers = (
    descriptions.router,
    jobs.router,
    running.router,
    control.router,
    sandboxes.router,
    pilots.router,
    nodes.router,
    sites.router,
)
store_router = sandboxes.store_router
