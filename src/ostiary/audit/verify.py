"""Is the record whole? The hash chain over all segments, and the signatures of the checkpoints in it.

A chain shows any change but one: cutting off its end. Checkpoints are signed, so a chain that was written anew has
none that verify; only a checkpoint kept elsewhere would show a missing tail, and `verify` says that it knows of none.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from joserfc import jws
from joserfc.errors import JoseError

from ostiary import jose
from ostiary.audit.read import Place, lines, segments

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from joserfc.jwk import ECKey, OKPKey

CHECKPOINT_TYP: Final = "ostiary-checkpoint+jwt"
FIRST_PREV: Final = "0" * 64
NOT_ANCHORED: Final = "not externally anchored: a missing tail could not be seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The first place where the record is not what was written."""

    segment: str
    index: int
    why: str


@dataclass(kw_only=True)
class Verdict:
    """What verification found; `ok` exactly if there is no `first_bad`."""

    records: int = 0
    segments: int = 0
    checkpoints: int = 0
    first_bad: Fault | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything that can be checked holds."""
        return self.first_bad is None

    def as_json(self) -> dict[str, Any]:
        """Return what `audit verify --json` prints."""
        return {"ok": self.ok, **asdict(self)}


def verify_folder(folder: Path, keys: Iterable[Mapping[str, Any]] | None) -> Verdict:
    """Check the record in `folder`, which may be growing meanwhile.

    `keys` are the public JWKs that checkpoints may be signed with, retired ones too; with `None` signatures are not
    checked, and a warning says so. Raises `AuditError` if there is no folder.
    """
    known = None if keys is None else {str(jwk["kid"]): jose.import_public(jwk) for jwk in keys}
    verdict = Verdict()
    prev: str | None = FIRST_PREV
    expected = 1
    found = segments(folder)
    for segment in found:
        ordinal = int(segment.stem)
        if verdict.segments == 0 and ordinal > 1:
            verdict.warnings.append(f"the record begins with {segment.name}: what came before is not here")
            prev = None
        elif ordinal != expected:
            missing = f"{expected:08d}.jsonl"
            verdict.first_bad = Fault(segment=missing, index=0, why="the segment is missing")
            break
        prev = _verify_segment(segment, prev, known, verdict, last=segment is found[-1])
        if verdict.first_bad is not None:
            break
        expected = ordinal + 1
    if verdict.checkpoints and known is None:
        verdict.warnings.append("the signatures of checkpoints were not checked: the store's keys are not at hand")
    verdict.warnings.append(NOT_ANCHORED)
    return verdict


def _verify_segment(
    segment: Path, prev: str | None, keys: dict[str, OKPKey | ECKey | None] | None, verdict: Verdict, *, last: bool
) -> str | None:
    """Add one segment to `verdict`; returns the hash that the next one begins with."""
    from ostiary import _core

    report = json.loads(_core.read_segment(str(segment), prev))
    verdict.segments += 1
    verdict.records += report["records"]
    verdict.checkpoints += report["checkpoints"]
    if report["torn"] and not last:
        verdict.warnings.append(f"{segment.name} ends in an incomplete line, which was never part of the record")
    bad = report["bad"]
    chain = None if bad is None else Fault(segment=segment.name, index=bad["index"], why=bad["why"])
    # A signature before the break in the chain is the earlier fault.
    signature = None
    if keys is not None and report["checkpoints"]:
        signature = _verify_checkpoints(segment, keys, verdict, end=None if chain is None else chain.index)
    verdict.first_bad = signature or chain
    return report["last_hash"] or prev


def _verify_checkpoints(
    segment: Path, keys: dict[str, OKPKey | ECKey | None], verdict: Verdict, *, end: int | None
) -> Fault | None:
    unsigned = 0
    for place, line in lines(segment):
        if end is not None and place.index >= end:
            break
        if b'"kind":"checkpoint"' not in line:
            continue
        record = json.loads(line)
        if record.get("kind") != "checkpoint":
            continue
        if record.get("jws") is None:
            unsigned += 1
            continue
        why = _checkpoint_fault(record, keys)
        if why is not None:
            return _fault(place, why)
    if unsigned:
        verdict.warnings.append(f"{segment.name} holds {unsigned} unsigned checkpoints")
    return None


def _fault(place: Place, why: str) -> Fault:
    return Fault(segment=place.segment, index=place.index, why=why)


def _checkpoint_fault(record: Mapping[str, Any], keys: dict[str, OKPKey | ECKey | None]) -> str | None:
    try:
        signed = jws.extract_compact(str(record["jws"]).encode("ascii"), registry=jose.REGISTRY)
        header = signed.headers()
        key = keys.get(str(header.get("kid")))
        if key is None:
            return "the checkpoint is signed with a key that this store never had"
        if header.get("typ") != CHECKPOINT_TYP or not jws.validate_compact(signed, key, registry=jose.REGISTRY):
            return "the checkpoint's signature is wrong"
        claims = json.loads(signed.payload or b"")
    except (JoseError, ValueError):
        return "the checkpoint's signature is malformed"
    if claims != {name: record.get(name) for name in ("gateway", "count", "prev")}:
        return "the checkpoint's signature is for another place"
    return None
