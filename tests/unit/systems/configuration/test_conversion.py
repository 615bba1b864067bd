"""DIRAC's and DiracX's configurations as ours, and back."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dirac.core.errors import DiracError, InvalidInputError
from dirac.formats.cfg import dump, parse, split
from dirac.systems.configuration.checks import Checker
from dirac.systems.configuration.conversion import convert, export
from dirac.systems.configuration.document import read
from dirac.systems.configuration.layout import join
from dirac.systems.configuration.models import Converted, Tree
from dirac.systems.configuration.trees import normal_form, plain
from dirac.testing.configurations import tree as large_tree

COMPUTING = ["local", "node", "arex"]
CHECKER = Checker(
    lambda kind: COMPUTING if kind == "dirac.computing" else ["JobSanity", "InputData", "JobScheduling"],
    lambda *_: None,
)


def dirac_cfg(seed: int, sites: int, users: int) -> dict[str, Any]:
    """Return a configuration as a DIRAC installation of several communities has it, options as text."""
    chance = random.Random(seed)
    names = [f"user{number}" for number in range(users)]
    vos = ["lhcb", "biomed", "vo.cta.in2p3.fr"]
    groups: dict[str, Any] = {"hosts_only": {"Properties": "TrustedHost"}}
    for vo in vos:
        for role in ("user", "prod", "admin"):
            groups[f"{vo.partition('.')[0]}_{role}"] = {
                "Users": ", ".join(chance.sample(names, min(users, 20))),
                "Properties": chance.choice(["NormalUser", "NormalUser, FullDelegation", "JobAdministrator"]),
                "VO": vo,
                "VOMSRole": f"/{vo}/Role={role}",
                "AutoUploadProxy": "True",
                **({"JobShare": "500"} if role == "prod" else {}),
            }
    registry = {
        "DefaultGroup": "lhcb_user, biomed_user",
        "Users": {
            name: {"DN": f"/DC=ch/DC=cern/CN={name}", "CA": "/DC=ch/CN=CA", "Email": f"{name}@example.org"}
            | ({"Suspended": "lhcb"} if chance.random() < 0.1 else {})
            for name in names
        },
        "Groups": groups,
        "Hosts": {"dirac.example.org": {"DN": "/CN=dirac.example.org", "Properties": "TrustedHost"}},
        "VO": {
            vo: {
                "VOMSName": vo,
                "VOAdmin": names[0],
                "VOMSServers": {f"voms.{vo}": {"Port": "15000", "DN": "/CN=voms", "CA": "/CN=CA"}},
            }
            for vo in vos
        },
    }
    resources: dict[str, Any] = {
        "Sites": {"LCG": {}, "CLOUD": {}},
        "StorageElements": {
            f"SE{number}": {
                "BackendType": "EOS",
                "ReadAccess": "Active",
                "SEType": "T0D1" if number % 3 else "T1D0",
                "AccessProtocol.1": {
                    "Host": "eos.example.org",
                    "Port": "1094",
                    "PluginName": "GFAL2_XROOT",
                    "Protocol": "root",
                    "Path": "/eos/lhcb",
                    "Access": "remote",
                    "SpaceToken": "LHCb-Disk",
                },
            }
            for number in range(20)
        },
        "FileCatalogs": {"FileCatalog": {"AccessType": "Read-Write", "Status": "Active", "Master": "True"}},
        "FTSEndpoints": {"FTS3": {"CERN": "https://fts3.example.org:8446"}},
        "IdProviders": {"IAM": {"ProviderType": "IAM", "issuer": "https://iam.example.org"}},
    }
    for number in range(sites):
        grid = "LCG" if number % 5 else "CLOUD"
        resources["Sites"][grid][f"{grid}.Site{number}.{chance.choice(['ch', 'fr', 'uk'])}"] = {
            "Name": f"SITE-{number}",
            "Coordinates": "6.0:46.2",
            "SE": "SE1, SE2",
            "CEs": {
                f"ce{each}.site{number}.org": {
                    "CEType": chance.choice(["AREX", "HTCondorCE", "Local"]),
                    "wnTmpDir": "/tmp",
                    "Queues": {
                        f"queue{which}": {
                            "VO": ", ".join(chance.sample(vos, 2)),
                            "maxCPUTime": "2880",
                            "SI00": "2500",
                            "MaxTotalJobs": "100",
                            "MaxWaitingJobs": "0" if which else "20",
                            "NumberOfProcessors": "8",
                            "Tag": "MultiProcessor, GPU",
                        }
                        for which in range(3)
                    },
                }
                for each in range(2)
            },
        }
    operations = {
        "Defaults": {
            "JobDescription": {"MaxCPUTime": "1000000", "AllowedJobTypes": "User, MCSimulation"},
            "Pilot": {"Version": "9.1.0", "CheckVersion": "True"},
            "Services": {"JobMonitoring": {"GlobalJobsInfo": "True"}},
        },
        "lhcb": {"Pilot": {"Version": "9.1.1"}, "Transformations": {"DataProcessing": "MCSimulation, Merge"}},
    }
    systems = {
        "WorkloadManagement": {
            "Databases": {"JobDB": {"Host": "db.example.org", "Password": "s3cret"}},
            "Services": {"JobManager": {"Port": "9132", "Authorization": {"Default": "authenticated"}}},
        }
    }
    return {
        "DIRAC": {"VirtualOrganization": "lhcb", "Extensions": "WebApp"},
        "Registry": registry,
        "Resources": resources,
        "Operations": operations,
        "Systems": systems,
        "WebApp": {},
    }


def _tree(made: Converted) -> Tree:
    """Return the tree of files, which have no fault."""
    parts = {}
    for name, text in made.files.items():
        document = read(text, name)
        assert document.faults == []
        parts[name] = document.tree()
    tree, clashes = join(parts)
    assert clashes == []
    assert list(CHECKER.check(plain(tree))) == []
    return tree


def _options(section: dict[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, dict):
            found |= _options(value, f"{path}/{name}") if value else {f"{path}/{name}/": {}}
        else:
            found[f"{path}/{name}"] = sorted(split(value)) if name in ("Users", "VO") else split(value)
    return found


@pytest.mark.parametrize(("sites", "users"), [(0, 1), (300, 400)])
def test_a_realistic_configuration_survives_the_round_trip(sites: int, users: int) -> None:
    cfg = dirac_cfg(1, sites, users)
    made = convert(dump(cfg), "cfg", COMPUTING)
    tree = _tree(made)
    back = parse(export(tree, "cfg", ""))
    wanted, said = _options(cfg), _options(back)
    del wanted["/Systems/WorkloadManagement/Databases/JobDB/Password"]
    assert {name: said.get(name) for name in wanted} == wanted
    assert "s3cret" not in "".join(made.files.values())
    assert any("Password looks like a secret" in line for line in made.report)
    again = _tree(convert(export(tree, "cfg", ""), "cfg", COMPUTING))
    assert export(again, "cfg", "") == export(tree, "cfg", ""), "the second round trip adds nothing"


def test_what_is_understood_is_in_its_place() -> None:
    made = convert(dump(dirac_cfg(2, 40, 50)), "cfg", COMPUTING)
    tree = _tree(made)
    assert sorted(tree.virtual_organisations) == ["biomed", "lhcb", "vo.cta.in2p3.fr"]
    lhcb = tree.virtual_organisations["lhcb"]
    assert lhcb.default_group == "lhcb_user"
    assert lhcb.groups["lhcb_prod"].job_share == 500
    assert lhcb.users
    assert len(tree.sites) == 40
    elements = [each for site in tree.sites.values() for each in site.computing_elements.values()]
    assert {each.type for each in elements} == {"arex", "local"}
    queue = elements[0].queues["queue0"]
    assert (queue.cpu_time, queue.max_running, queue.processors) == (1_728_000, 100, 8)
    assert tree.data.storage_elements["SE3"].tape
    protocol = tree.data.storage_elements["SE1"].protocols["AccessProtocol.1"]
    assert (protocol.protocol, protocol.port, protocol.plugin) == ("root", 1094, "GFAL2_XROOT")
    assert tree.data.catalogs["FileCatalog"].master
    assert tree.data.transfer_servers["CERN"].url == "https://fts3.example.org:8446"
    assert (tree.workload.max_cpu_time, tree.pilot.release) == (1_000_000, "9.1.0")
    assert lhcb.operations["Pilot"] == {"Version": "9.1.1"}
    assert any("no plugin for the type HTCondorCE" in line for line in made.report)
    assert any("hosts_only is of no VO" in line for line in made.report)


def test_ours_survives_diracx() -> None:
    tree = msgspec.convert(large_tree(5, 20, 30), Tree)
    text = export(tree, "diracx", "https://dirac.example")
    back = _tree(convert(text, "diracx", COMPUTING))
    assert yaml.safe_load(export(back, "diracx", "https://dirac.example")) == yaml.safe_load(text)


def test_ours_survives_its_own_form() -> None:
    tree = msgspec.convert(large_tree(3, 10, 20), Tree)
    assert normal_form(read(export(tree, "yaml", "")).tree()) == normal_form(tree)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("a: &x [1]\nb: *x", "diracx"),
        ("- 1", "diracx"),
        ("a: [", "diracx"),
        ("}", "cfg"),
        ("a\x00", "cfg"),
        ("", "toml"),
    ],
)
def test_what_is_of_another_form_is_refused(text: str, form: str) -> None:
    with pytest.raises(InvalidInputError):
        convert(text, form, COMPUTING)


NAMES = st.sampled_from(
    """Registry VO Groups Users Resources Sites LCG LCG.A.ch CEs ce Queues q StorageElements FileCatalogs
    FTSEndpoints FTS3 Operations Defaults lhcb JobDescription Email Properties Suspended DefaultGroup Protocol
    Port Password MaxCPUTime CEType Pilot""".split()  # noqa: SIM905
)
VALUES = st.sampled_from(
    ["", "lhcb", "a, b", "True", "-1", "9" * 30, "local", "NormalUser", "https://a:b@c", "é/ ("]
)
ANY = st.recursive(
    st.dictionaries(NAMES, VALUES, max_size=4),
    lambda inner: st.dictionaries(NAMES, VALUES | inner, max_size=5),
    max_leaves=30,
)


@given(ANY)
@settings(max_examples=200, deadline=None)
def test_any_cfg_is_taken_over_or_refused_and_nothing_is_lost(cfg: dict[str, Any]) -> None:
    made = convert(dump(cfg), "cfg", COMPUTING)
    tree = _tree(made)
    said = _options(parse(export(tree, "cfg", "")))
    for name, value in _options(cfg).items():
        secret = "Password" in name or "https://a:b@c" in value
        empty = name.endswith("/")
        assert empty or said.get(name) == value or (secret and "looks like a secret" in str(made.report)), (
            name
        )


@given(
    st.recursive(
        VALUES | st.none() | st.integers() | st.lists(VALUES, max_size=2),
        lambda inner: st.dictionaries(NAMES, inner, max_size=5),
        max_leaves=30,
    )
)
@settings(max_examples=200, deadline=None)
def test_any_yaml_is_taken_over_or_refused(value: Any) -> None:
    try:
        made = convert(yaml.safe_dump(value), "diracx", COMPUTING)
    except DiracError:
        return
    _tree(made)
