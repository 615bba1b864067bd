"""The part of the tree that tells where files are, and what moves and knows them."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from dirac.systems.configuration.models.values import (
    CatalogName,
    Directory,
    Name,
    NotNegative,
    ProtocolName,
    Section,
    ServerName,
    SiteName,
    StorageName,
    Text,
)


class StorageProtocol(Section, frozen=True):
    """A way to the files of a storage element."""

    protocol: Annotated[Name, Meta(description="Scheme of its addresses: root, davs, https, srm, s3, file")]
    host: Annotated[Text, Meta(description="Host that serves it; empty for files of this machine")] = ""
    port: Annotated[
        int, Meta(ge=0, le=65535, description="Port of the host; 0 for the usual one of the protocol")
    ] = 0
    path: Annotated[Text, Meta(description="Directory in front of the logical file names")] = ""
    plugin: Annotated[
        Text | None, Meta(description="Plugin that speaks it; if not given, that of the protocol")
    ] = None
    remote: Annotated[bool, Meta(description="Reached from other sites as well")] = True
    space_token: Annotated[Text | None, Meta(description="Space that is reserved there")] = None
    service: Annotated[Text | None, Meta(description="Path of the web service, for SRM")] = None


class StorageElement(Section, frozen=True):
    """A place where files are."""

    sites: Annotated[list[SiteName], Meta(description="Sites whose jobs read from it")] = []
    tape: Annotated[bool, Meta(description="Files have to be staged before jobs can read them")] = False
    backend: Annotated[Text | None, Meta(description="What it is made of: EOS, dCache, Ceph, ...")] = None
    virtual_organisations: Annotated[
        list[Name], Meta(description="VOs that may use it; none for all of the installation")
    ] = []
    protocols: Annotated[
        dict[ProtocolName, StorageProtocol],
        Meta(description="The ways to its files, by a name of your choice"),
    ] = {}


class Catalog(Section, frozen=True):
    """A catalogue of files."""

    type: Annotated[Text, Meta(description="What it is: FileCatalog, RucioFileCatalog, ...")]
    url: Annotated[Text | None, Meta(description="Its address, if it is elsewhere")] = None
    master: Annotated[bool, Meta(description="What it says is true where catalogues differ")] = False
    writable: Annotated[bool, Meta(description="Files are registered there, not only looked up")] = True
    enabled: Annotated[bool, Meta(description="It is used")] = True
    settings: Annotated[
        dict[str, Any], Meta(description="Settings of the plugin; never a secret, but the file that holds it")
    ] = {}


class TransferServer(Section, frozen=True):
    """A server that moves files between storage elements (FTS)."""

    url: Annotated[Text, Meta(min_length=1, description="Its address, with the port")]
    priority: Annotated[NotNegative, Meta(description="Servers with lower numbers are asked first")] = 0


class Data(Section, frozen=True):
    """Where files are, for sites whose data stay in their places."""

    storage_elements: Annotated[
        dict[StorageName, StorageElement], Meta(description="The storage elements, by name")
    ] = {}
    directories: Annotated[
        dict[Directory, list[Name]],
        Meta(description="Storage elements that have all files below a directory of logical names"),
    ] = {}
    catalogs: Annotated[dict[CatalogName, Catalog], Meta(description="The catalogues of files, by name")] = {}
    transfer_servers: Annotated[
        dict[ServerName, TransferServer], Meta(description="The servers that move files, by name")
    ] = {}
