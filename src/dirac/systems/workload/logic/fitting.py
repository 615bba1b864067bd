"""Whether a class of jobs fits a resource, and if not, why: the one function that decides it.

Matching, explanations and the pilot factory all ask here, so that none of them can think differently.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from dirac.formats.description import Requirements
from dirac.systems.configuration.models import Queue, Tree
from dirac.systems.workload.models import Resource

Value: TypeAlias = int | str | tuple[str, ...]

_PROCESSORS: Final = re.compile(r"([0-9]{1,6})Processors").fullmatch
_DERIVED: Final = frozenset({"MultiProcessor", "WholeNode"})
_SHOWN: Final = 5


class Dimension(StrEnum):
    """What a class may ask for; the values are the names that users write in a description."""

    VO = "VO"
    SITE = "Site"
    BANNED_SITE = "BannedSites"
    CE = "GridCE"
    PLATFORM = "Platform"
    CPU_TIME = "CPUTime"
    RAM = "MinRAM"
    PROCESSORS = "NumberOfProcessors"
    WHOLE_NODE = "WholeNode"
    GPUS = "NumberOfGPUs"
    TAGS = "Tags"
    REQUIRED_TAGS = "RequiredTags"
    OWNER_GROUP = "OwnerGroup"
    OWNER = "Owner"


class Reason(msgspec.Struct, frozen=True):
    """One way in which a class does not fit.

    Attributes:
        wanted: What the class asks for, or whose it is. For `Dimension.REQUIRED_TAGS` it is the resource that
            asks: these are the tags it insists on and the class does not have.
        offered: What the resource has instead, or whom it takes.
    """

    dimension: Dimension
    wanted: Value
    offered: Value


class JobClass(msgspec.Struct, frozen=True):
    """All jobs of one group of a VO with the same needs; never changes."""

    class_id: int
    vo: str
    owner_group: str
    needs: Requirements
    owner_sub: str = ""


class PlaceRules(msgspec.Struct, frozen=True):
    """What the configuration says of a queue, beside what a pilot in it has.

    Attributes:
        groups: Only jobs of these groups; none for all.
        owners: Only jobs of these subjects; none for all.
        compatible: By platform of a machine, the other platforms whose programs it runs.
    """

    groups: frozenset[str] = frozenset()
    owners: frozenset[str] = frozenset()
    compatible: Mapping[str, Sequence[str]] = {}


def rules_of(tree: Tree, vo: str, queue: Queue | None) -> PlaceRules:
    """Return the rules for a VO's pilots in a queue."""
    compatible = tree.workload.compatible_platforms
    if queue is None:
        return PlaceRules(compatible=compatible)
    users = tree.virtual_organisations[vo].users if vo in tree.virtual_organisations else {}
    # A user who is not of this VO stays: nobody, instead of everybody.
    owners = frozenset((users[name].sub if name in users else None) or name for name in queue.users)
    return PlaceRules(frozenset(queue.groups), owners, compatible)


class Offer(msgspec.Struct, frozen=True):
    """What a resource has, in the form in which it is compared.

    Attributes:
        vos: The virtual organisations it serves.
        groups: Only jobs of these groups; none for all.
        owners: Only jobs of these subjects; none for all.
        platforms: With all that its machines are compatible with.
        tags: All tags, with those that follow from the processors.
        max_ram: Memory in MB, 0 for no limit.
        cpu_time: Normalised seconds.
    """

    vos: frozenset[str]
    site: str
    ce: str
    queue: str
    platforms: frozenset[str]
    tags: frozenset[str]
    required_tags: frozenset[str]
    cpu_time: int
    max_ram: int
    processors: int
    whole_node: bool
    groups: frozenset[str] = frozenset()
    owners: frozenset[str] = frozenset()
    gpus: int = 0

    @property
    def name(self) -> str:
        """``site/ce/queue``, for people."""
        return f"{self.site}/{self.ce}/{self.queue}"


def offer_of(resource: Resource, vos: frozenset[str], rules: PlaceRules | None = None) -> Offer:
    """Return what a pilot offers to these virtual organisations.

    Args:
        resource: What it has.
        vos: Whom it serves.
        rules: What the configuration says of the place.
    """
    rules = rules or PlaceRules()
    platforms = set(resource.platforms)
    for platform in resource.platforms:
        platforms.update(rules.compatible.get(platform, ()))
    return Offer(
        vos=vos,
        site=resource.site,
        ce=resource.ce,
        queue=resource.queue,
        platforms=frozenset(platforms),
        tags=_all_tags(resource.tags, resource.processors, whole_node=resource.whole_node),
        required_tags=frozenset(resource.required_tags),
        cpu_time=resource.cpu_time,
        max_ram=resource.max_ram,
        processors=resource.processors,
        whole_node=resource.whole_node,
        groups=rules.groups,
        owners=rules.owners,
        gpus=resource.gpus,
    )


def less(offer: Offer, needs: Requirements) -> Offer | None:
    """Return what is left of an offer beside one job; None if nothing is."""
    taken = processors_of(needs)
    if "WholeNode" in needs.tags or taken >= offer.processors:
        return None
    processors = offer.processors - taken
    memory = max(1, offer.max_ram - needs.min_ram) if offer.max_ram else 0  # 0 would mean "no limit"
    tags = _all_tags(list(plain_tags(offer.tags)), processors, whole_node=False)
    return msgspec.structs.replace(
        offer,
        processors=processors,
        max_ram=memory,
        gpus=max(0, offer.gpus - needs.gpus),
        tags=tags,
        whole_node=False,
    )


def offer_of_queue(
    queue: Queue,
    *,
    site: str,
    ce: str,
    name: str,
    vos: frozenset[str],
    rules: PlaceRules | None = None,
) -> Offer:
    """Return what a pilot that is started in this queue will offer."""
    resource = Resource(
        site=site,
        ce=ce,
        queue=name,
        processors=queue.processors,
        max_ram=queue.max_ram,
        cpu_time=queue.cpu_time,
        platforms=queue.platforms,
        tags=queue.tags,
        required_tags=queue.required_tags,
        whole_node="WholeNode" in queue.tags,
        gpus=queue.gpus,
    )
    return offer_of(resource, vos, rules)


def _all_tags(tags: list[str], processors: int, *, whole_node: bool) -> frozenset[str]:
    found = {*tags, *(f"{number}Processors" for number in range(1, processors + 1))}
    if processors > 1:
        found.add("MultiProcessor")
    if whole_node:
        found.add("WholeNode")
    return frozenset(found)


def fits(wanted: JobClass, offer: Offer) -> list[Reason]:
    """Return all reasons why jobs of a class cannot run on a resource; none if they can."""
    needs = wanted.needs
    reasons = _not_for(wanted, offer)
    if needs.sites and offer.site not in needs.sites:
        reasons.append(Reason(Dimension.SITE, needs.sites, offer.site))
    if needs.banned_sites and offer.site in needs.banned_sites:
        reasons.append(Reason(Dimension.BANNED_SITE, needs.banned_sites, offer.site))
    if needs.grid_ces and offer.ce not in needs.grid_ces:
        reasons.append(Reason(Dimension.CE, needs.grid_ces, offer.ce))
    if needs.platforms and offer.platforms.isdisjoint(needs.platforms):
        reasons.append(Reason(Dimension.PLATFORM, needs.platforms, _sorted(offer.platforms)))
    if needs.cpu_time > offer.cpu_time:
        reasons.append(Reason(Dimension.CPU_TIME, needs.cpu_time, offer.cpu_time))
    if offer.max_ram and needs.min_ram > offer.max_ram:
        reasons.append(Reason(Dimension.RAM, needs.min_ram, offer.max_ram))
    if needs.gpus > offer.gpus:
        reasons.append(Reason(Dimension.GPUS, needs.gpus, offer.gpus))
    if needs.tags and not offer.tags.issuperset(needs.tags):
        reasons += _missing_tags(needs.tags, offer)
    if offer.required_tags and not offer.required_tags.issubset(needs.tags):
        missing = offer.required_tags.difference(needs.tags)
        reasons.append(Reason(Dimension.REQUIRED_TAGS, _sorted(missing), needs.tags))
    return reasons


def _not_for(wanted: JobClass, offer: Offer) -> list[Reason]:
    """Say why a resource is not for the people whose jobs these are."""
    reasons = []
    if wanted.vo not in offer.vos:
        reasons.append(Reason(Dimension.VO, wanted.vo, _sorted(offer.vos)))
    if offer.groups and wanted.owner_group not in offer.groups:
        reasons.append(Reason(Dimension.OWNER_GROUP, wanted.owner_group, _sorted(offer.groups)))
    if offer.owners and wanted.owner_sub not in offer.owners:
        whose = wanted.owner_sub or wanted.owner_group
        reasons.append(Reason(Dimension.OWNER, whose, _sorted(offer.owners)))
    return reasons


def _missing_tags(tags: tuple[str, ...], offer: Offer) -> list[Reason]:
    """Say which tags are missing, those that follow from the processors under the name that users know."""
    reasons = []
    missing = [tag for tag in tags if tag not in offer.tags]
    numbers = [int(match[1]) for tag in missing if (match := _PROCESSORS(tag))]
    if numbers or "MultiProcessor" in missing:
        reasons.append(Reason(Dimension.PROCESSORS, max(numbers, default=2), offer.processors))
    if "WholeNode" in missing:
        reasons.append(Reason(Dimension.WHOLE_NODE, "true", "false"))
    if plain := tuple(tag for tag in missing if not is_derived(tag)):
        reasons.append(Reason(Dimension.TAGS, plain, plain_tags(offer.tags)))
    return reasons


def processors_of(needs: Requirements) -> int:
    """Return the least number of processors that a job of a class needs."""
    return max((int(match[1]) for tag in needs.tags if (match := _PROCESSORS(tag))), default=1)


def is_derived(tag: str) -> bool:
    """Tell whether a tag stands for processors or a whole node, for which there are names of their own."""
    return tag in _DERIVED or _PROCESSORS(tag) is not None


def plain_tags(tags: frozenset[str]) -> tuple[str, ...]:
    """Return tags without those that follow from processors or a whole node."""
    return tuple(sorted(tag for tag in tags if not is_derived(tag)))


def _sorted(values: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(values))


def shown(value: Value) -> str:
    """Print what is wanted or offered, for people; a long list is cut."""
    if not isinstance(value, tuple):
        return str(value)
    more = f" and {len(value) - _SHOWN} more" if len(value) > _SHOWN else ""
    return (", ".join(value[:_SHOWN]) + more) or "none"


def all_of(values: Sequence[Value]) -> str:
    """Print several values of one dimension, at least one: the greatest number, or all names."""
    if isinstance(values[0], int):
        return shown(max(value for value in values if isinstance(value, int)))
    return shown(tuple(sorted({name for value in values for name in names_of(value)})))


def names_of(value: Value) -> tuple[str, ...]:
    """Return the names that a value is made of."""
    return value if isinstance(value, tuple) else (str(value),)
