"""The routes of the workload system, one module per group.

`directory_store_routers` belong to an application whose object store is a `DirectoryStore`; their
`UPLOAD_PATH` takes bodies larger than others may be: what was signed for is the limit.
"""

from dirac.resources.storage.directory import UPLOAD_PATH
from dirac.systems.workload.api import jobs, pilots, running, sandboxes

__all__ = ["UPLOAD_PATH", "directory_store_routers", "routers"]

routers = (jobs.router, running.router, sandboxes.router, pilots.router)
directory_store_routers = (sandboxes.store_router,)
