"""Sites, storage, catalogues and transfer servers as DIRAC's configuration has them, and back."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from dirac.formats.cfg import Section, split
from dirac.systems.configuration.models import (
    Catalog,
    ComputingElement,
    Queue,
    Site,
    StorageElement,
    TransferServer,
    Tree,
)
from dirac.systems.configuration.trees import plain

_NUMBERS = {
    "max_running": "MaxTotalJobs",
    "max_waiting": "MaxWaitingJobs",
    "cpu_time": "CPUTime",
    "processors": "NumberOfProcessors",
    "gpus": "NumberOfGPUs",
    "max_ram": "MaxRAM",
}
_LISTS = {"tags": "Tag", "required_tags": "RequiredTag", "platforms": "Platform"}
_SPEED_UNIT = 250
_YES = frozenset({"yes", "y", "true", "1"})
_TAPE = re.compile(r"T[1-9]")


def number(value: Any) -> int | None:
    """Return a whole number that was given as text, or None."""
    text = str(value).strip() if isinstance(value, str | int) else ""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def listed(value: Any) -> list[str]:
    """Return a list that was given with commas, or as one."""
    return [str(each) for each in value] if isinstance(value, list) else split(str(value)) if value else []


def imported_site(
    site: Section, vos: Collection[str], computing: Collection[str], name: str, report: list[str]
) -> dict[str, Any]:
    """Return a site as plain values of our tree."""
    elements = {}
    served = set(listed(site.get("VO")))
    for ce, options in _sections(site.get("CEs")):
        served.update(listed(options.get("VO")))
        kind = str(options.get("CEType", ""))
        plugin = next((each for each in computing if each.lower() == kind.lower()), None)
        queues = {queue: imported_queue(each) for queue, each in _sections(options.get("Queues"))}
        for _, each in _sections(options.get("Queues")):
            served.update(listed(each.get("VO")))
        if plugin is None:
            report.append(
                f"{name}/{ce}: there is no plugin for the type {kind or '(none)'} here; it is kept only"
            )
            continue
        made = {"type": plugin, "queues": queues} if queues else {"type": plugin}
        if _fits(made, ComputingElement, f"{name}/{ce}", report):
            elements[ce] = made
    known = sorted(served & set(vos)) if served else sorted(vos)
    found: dict[str, Any] = {"virtual_organisations": known}
    if elements:
        found["computing_elements"] = elements
    return found


def imported_queue(queue: Mapping[str, Any]) -> dict[str, Any]:
    """Return a queue as plain values of our tree."""
    found: dict[str, Any] = {
        ours: value for ours, theirs in _NUMBERS.items() if (value := number(queue.get(theirs))) is not None
    }
    minutes = number(queue.get("maxCPUTime"))
    if "cpu_time" not in found and minutes:
        # Minutes of a machine of a known speed; ours are normalised seconds.
        found["cpu_time"] = minutes * 60 * (number(queue.get("SI00")) or _SPEED_UNIT) // _SPEED_UNIT
    found |= {ours: items for ours, theirs in _LISTS.items() if (items := listed(queue.get(theirs)))}
    for ours in ("max_running", "max_waiting", "cpu_time", "processors"):
        if found.get(ours) == 0:
            del found[ours]
    return found


def imported_data(resources: Section, vos: Collection[str], report: list[str]) -> dict[str, Any]:
    """Return storage elements, catalogues and transfer servers as plain values of our tree."""
    found: dict[str, dict[str, Any]] = {"storage_elements": {}, "catalogs": {}, "transfer_servers": {}}
    for name, options in _sections(resources.get("StorageElements")):
        element = _element(options, vos)
        if _fits(element, StorageElement, f"the storage element {name}", report):
            found["storage_elements"][name] = element
    for name, options in _sections(resources.get("FileCatalogs")):
        catalog = _catalog(name, options)
        if _fits(catalog, Catalog, f"the catalogue {name}", report):
            found["catalogs"][name] = catalog
    endpoints = resources.get("FTSEndpoints")
    servers = endpoints.get("FTS3") if isinstance(endpoints, Mapping) else None
    for name, url in servers.items() if isinstance(servers, Mapping) else ():
        server = {"url": url}
        if isinstance(url, str) and _fits(server, TransferServer, f"the transfer server {name}", report):
            found["transfer_servers"][name] = server
    for section, entries in found.items():
        for name in list(entries):
            if not _fits({"data": {section: {name: entries[name]}}}, Tree, f"{section}/{name}", report):
                del entries[name]
    return {section: entries for section, entries in found.items() if entries}


def exported_site(site: Site) -> Section:
    """Return a site as DIRAC has it."""
    found: Section = {"VO": ", ".join(site.virtual_organisations)}
    if site.computing_elements:
        found["CEs"] = {
            name: {
                "CEType": element.type,
                "Queues": {queue: exported_queue(each) for queue, each in element.queues.items()},
            }
            for name, element in site.computing_elements.items()
        }
    return found


def exported_queue(queue: Queue) -> Section:
    """Return a queue as DIRAC has it; what has its default is left out."""
    said = plain(queue)
    found: Section = {theirs: str(said[ours]) for ours, theirs in _NUMBERS.items() if ours in said}
    return found | {theirs: ", ".join(said[ours]) for ours, theirs in _LISTS.items() if ours in said}


def exported_data(tree: Tree) -> Section:
    """Return storage elements, catalogues and transfer servers as DIRAC has them."""
    found: Section = {}
    data = tree.data
    if data.storage_elements:
        found["StorageElements"] = {
            name: _exported_element(each) for name, each in data.storage_elements.items()
        }
    if data.catalogs:
        found["FileCatalogs"] = {name: _exported_catalog(each) for name, each in data.catalogs.items()}
    if data.transfer_servers:
        urls = {name: server.url for name, server in data.transfer_servers.items()}
        found["FTSEndpoints"] = {"FTS3": urls}
    return found


def _element(options: Mapping[str, Any], vos: Collection[str]) -> dict[str, Any]:
    protocols = {}
    for name, each in _sections(options):
        scheme = each.get("Protocol")
        if not scheme:
            continue
        made: dict[str, Any] = {"protocol": scheme}
        for ours, theirs in (
            ("host", "Host"),
            ("path", "Path"),
            ("space_token", "SpaceToken"),
            ("service", "WSUrl"),
        ):
            if value := each.get(theirs):
                made[ours] = value
        if plugin := each.get("PluginName") or each.get("Plugin"):
            made["plugin"] = plugin
        if (port := number(each.get("Port"))) is not None:
            made["port"] = port
        if str(each.get("Access", "remote")).lower() == "local":
            made["remote"] = False
        protocols[name] = made
    found: dict[str, Any] = {"protocols": protocols} if protocols else {}
    if backend := options.get("BackendType"):
        found["backend"] = backend
    if _TAPE.search(str(options.get("SEType", ""))):
        found["tape"] = True
    if own := [vo for vo in listed(options.get("VO")) if vo in vos]:
        found["virtual_organisations"] = own
    return found


def _exported_element(element: StorageElement) -> Section:
    found: Section = {"BackendType": element.backend} if element.backend else {}
    if element.tape:
        found["SEType"] = "T1D0"
    if element.virtual_organisations:
        found["VO"] = ", ".join(element.virtual_organisations)
    for name, each in element.protocols.items():
        made = {
            "PluginName": each.plugin,
            "Protocol": each.protocol,
            "Host": each.host,
            "Port": str(each.port) if each.port else None,
            "Path": each.path,
            "SpaceToken": each.space_token,
            "WSUrl": each.service,
            "Access": "remote" if each.remote else "local",
        }
        found[name] = {option: value for option, value in made.items() if value}
    return found


def _catalog(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"type": str(options.get("CatalogType") or name)}
    if url := options.get("CatalogURL"):
        found["url"] = url
    if str(options.get("Master", "")).lower() in _YES:
        found["master"] = True
    if str(options.get("AccessType", "Read-Write")).lower() == "read":
        found["writable"] = False
    if str(options.get("Status", "Active")).lower() != "active":
        found["enabled"] = False
    return found


def _exported_catalog(catalog: Catalog) -> Section:
    found: Section = {
        "CatalogType": catalog.type,
        "AccessType": "Read-Write" if catalog.writable else "Read",
        "Status": "Active" if catalog.enabled else "InActive",
    }
    if catalog.url:
        found["CatalogURL"] = catalog.url
    if catalog.master:
        found["Master"] = "True"
    return found


def _sections(section: Any) -> list[tuple[str, Mapping[str, Any]]]:
    if not isinstance(section, Mapping):
        return []
    return [(name, each) for name, each in section.items() if isinstance(each, Mapping)]


def _fits(value: Any, kind: Any, what: str, report: list[str]) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        report.append(f"{what} cannot be taken over, and is kept only: {error}")
        return False
    return True
