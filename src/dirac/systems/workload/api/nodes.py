"""Routes for worker nodes that start pilots themselves, and for the tokens of pilots."""

from __future__ import annotations

from typing import Annotated

from dirac.systems.identity.models import Identity, TokenResponse
from dirac.systems.workload import policy
from dirac.systems.workload.logic.nodes import Nodes
from dirac.systems.workload.logic.renewal import PilotRenewal
from dirac.systems.workload.models import NodeAnswer, NodePlace, NodeReceipt, NodeReport, NodeRequest
from dirac.transport.routing import SystemRouter, allowed, body, provided

router = SystemRouter("/api/pilots", "pilots")

Node = Annotated[Identity, allowed(policy.start_pilots)]
TheNodes = Annotated[Nodes, provided(Nodes)]


@router.get("/node")
async def get_node_place(caller: Node, nodes: TheNodes) -> NodePlace:
    """Tell a worker node what its credential is good for."""
    return await nodes.place(caller)


@router.post("/node/ask")
async def ask_for_pilots(
    caller: Node, request: Annotated[NodeRequest, body(NodeRequest)], nodes: TheNodes
) -> NodeAnswer:
    """Ask for pilots to start on a worker node; the request is held open for `wait` seconds.

    A request may be repeated with the same `request_id`: it gets the same pilots again.
    """
    return await nodes.ask(caller, request)


@router.post("/node/ended")
async def report_ended_pilots(
    caller: Node, report: Annotated[NodeReport, body(NodeReport)], nodes: TheNodes
) -> NodeReceipt:
    """Report how pilots of a worker node have ended."""
    return await nodes.report(caller, report)


@router.post("/token/renew")
async def renew_pilot_token(
    caller: Annotated[Identity, allowed(policy.renew_pilot)],
    renewal: Annotated[PilotRenewal, provided(PilotRenewal)],
) -> TokenResponse:
    """Give a pilot another token, within the time of its queue."""
    return await renewal.renew(caller)
