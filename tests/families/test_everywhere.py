"""Every family stands in the lists that a new one is to be added to (CONTRIBUTING.md)."""

from __future__ import annotations

import pytest

from samedge import models
from samedge.bench.families import configs
from samedge.checkpoint.records import RECORDS
from samedge.families import FAMILIES
from samedge.models.build import MODELS
from samedge.train.data.augmentation import augmentation_of
from tests.export.engine import MODELS as FOLDED
from tests.golden.cases import SYSTEMS
from tests.golden.test_golden import QUICK
from tests.golden.tiny_folder import CONFIGS as GOLDEN
from tests.runtime.cases import CONFIGS as SESSIONS

VOLUMES = {"msa_3d": "msa"}  # the same network; a case of its own where that matters
LISTS: dict[str, set[str]] = {
    "RECORDS in samedge/checkpoint/records.py": {
        name for r in RECORDS if r.loadable and r.family for name in (r.family.name, *r.also)
    },
    "configs in bench/families.py": {make().family.name for _, make in configs().values()},
    "MODELS in tests/export/engine.py": {config.family.name for config, _ in FOLDED.values()},
    "CONFIGS in tests/runtime/cases.py": {config.family.name for config in SESSIONS.values()},
}
NETWORKS: dict[str, set[str]] = {
    "MODELS in samedge/models/build.py": {kind().family.name for kind in MODELS},
    "SYSTEMS in tests/golden/cases.py": set(SYSTEMS),
    # MobileSAM has no vectors: LiteMedSAM's network with SAM's conventions.
    "QUICK in tests/golden/test_golden.py": {"mobile_sam", *(system for system, _, _ in QUICK)},
    "CONFIGS in tests/golden/tiny_folder.py": {c.family.name for c in GOLDEN.values()},
}


@pytest.mark.parametrize("place", LISTS)
def test_every_family_is_in(place: str) -> None:
    assert set(FAMILIES) <= LISTS[place]


@pytest.mark.parametrize("place", NETWORKS)
def test_every_network_is_in(place: str) -> None:
    assert {VOLUMES.get(name, name) for name in FAMILIES} <= NETWORKS[place]


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_every_network_has_tiny_sizes_and_is_public(kind: type[models.ModelConfig]) -> None:
    assert models.tiny(kind).width < 100
    assert getattr(models, kind.__name__) is kind
    assert augmentation_of(kind().family.name)
