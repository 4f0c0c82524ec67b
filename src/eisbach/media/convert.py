"""The picture encoded by a service elsewhere, as AWS's MediaConvert is: one job an asset, straight between blobs.

Probing, sound and packaging stay with our worker: the same plan, the same ``files.json``, the same promises after it.
Promises of ``ConvertWork``: what is there is not made again; a worker that takes over finds the job that another began,
by a record beside the chunks, and waits for it; a job that ended badly is begun anew at most twice a lease. Ending a
worker ends no job: whoever leases the part next goes on with it. May not know: whose service it is, leases.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from eisbach.domain.catalog import Asset
from eisbach.kernel.errors import NotFound, Unavailable
from eisbach.kernel.ids import parse_id
from eisbach.media.plan import TRANSCODE, JobSpec, Plan
from eisbach.media.tools import MediaTools
from eisbach.media.work import MediaWork
from eisbach.ports.blobs import Blobs
from eisbach.ports.clock import Clock
from eisbach.ports.converter import Converter, Seen

__all__ = ["ConvertWork", "job_settings"]

_QUALITY: Final = 7
"""Of 1 to 10: QVBR's; under the rung's bound, as x264's constant quality is."""
_LOOK_EVERY_S: Final = 5.0
_TRIES: Final = 3
_WAIT_S: Final = 6 * 3600.0


class _Begun(msgspec.Struct, frozen=True, kw_only=True):
    job: str
    settings: str
    """Digest of what was asked for: another plan is another job."""


def job_settings(plan: Plan, asset: str, *, root: str) -> dict[str, Any]:
    """What MediaConvert is asked for: every rendition, whole, where ``run_job`` looks for its first chunk. Pure.

    ``root``: ``s3://BUCKET``. Key pictures lie on the segments' grid and refer to nothing before them, as from
    ``media.encode.video_codec``: the packager cuts there.
    """
    folder = f"{root}/work/{parse_id(asset, what='asset')}"
    return {
        "TimecodeConfig": {"Source": "ZEROBASED"},
        "Inputs": [{"FileInput": f"{root}/{plan.source}", "TimecodeSource": "ZEROBASED", "VideoSelector": {}}],
        "OutputGroups": [
            {
                "Name": rung.id,
                "OutputGroupSettings": {
                    "Type": "FILE_GROUP_SETTINGS",
                    "FileGroupSettings": {"Destination": f"{folder}/{rung.id}/0000"},
                },
                "Outputs": [
                    {
                        "Extension": "mp4",
                        "ContainerSettings": {"Container": "MP4", "Mp4Settings": {}},
                        "VideoDescription": {
                            "Width": rung.width,
                            "Height": rung.height,
                            "ScalingBehavior": "STRETCH_TO_OUTPUT",
                            "CodecSettings": {"Codec": "H_264", "H264Settings": _h264(plan, rung.kbits)},
                        },
                    }
                ],
            }
            for rung in plan.rungs
        ],
    }


def _h264(plan: Plan, kbits: int) -> dict[str, Any]:
    return {
        "CodecProfile": "MAIN",
        "RateControlMode": "QVBR",
        "QvbrSettings": {"QvbrQualityLevel": _QUALITY},
        "MaxBitrate": kbits * 1000,
        "HrdBufferSize": 2 * kbits * 1000,
        "GopSizeUnits": "FRAMES",
        "GopSize": float(plan.frames_per_segment),
        "GopClosedCadence": 1,
        "MinIInterval": 0,
        "SceneChangeDetect": "DISABLED",
        "FramerateControl": "SPECIFIED",
        "FramerateNumerator": plan.fps,
        "FramerateDenominator": 1,
        "FramerateConversionAlgorithm": "DUPLICATE_DROP",
        "ParControl": "SPECIFIED",
        "ParNumerator": 1,
        "ParDenominator": 1,
        "InterlaceMode": "PROGRESSIVE",
        "QualityTuningLevel": "SINGLE_PASS_HQ",
    }


class ConvertWork:
    """``MediaWork`` that has the picture encoded elsewhere, and all else done by ``inner``."""

    def __init__(self, inner: MediaWork, blobs: Blobs, converter: Converter, *, root: str, clock: Clock) -> None:
        self._inner, self._blobs, self._converter = inner, blobs, converter
        self._root, self._clock = root, clock

    @property
    def whole(self) -> bool:
        """The service takes a picture in one piece, and divides the work itself."""
        return True

    async def source(self, key: str) -> Path:
        """See ``MediaWork``."""
        return await self._inner.source(key)

    async def run(self, spec: JobSpec, tools: MediaTools, progress: Callable[[float], None]) -> Asset | None:
        """See ``MediaWork``."""
        if spec.kind != TRANSCODE or not spec.plan.whole or spec.part in {track.id for track in spec.plan.audio}:
            return await self._inner.run(spec, tools, progress)
        asset = parse_id(spec.asset, what="asset")
        wanted = [f"work/{asset}/{rung.id}/0000.mp4" for rung in spec.plan.rungs]
        settings = job_settings(spec.plan, asset, root=self._root)
        record, detail = f"work/{asset}/convert.json", "it was not begun"
        for attempt in range(_TRIES):
            begun = await self._begun(record, settings, again=attempt > 0)
            seen = await self._waited(begun, progress)
            present = set(await self._blobs.keys(f"work/{asset}/"))
            if seen.state == "done" and present.issuperset(wanted):
                progress(1.0)
                return None
            detail = seen.detail or f"it is {seen.state}, and {len(set(wanted) - present)} renditions are missing"
        raise Unavailable(f"the picture of {asset} was not encoded in {_TRIES} tries: {detail}")

    async def _begun(self, record: str, settings: dict[str, Any], *, again: bool) -> str:
        """The job that was begun for this, or a new one; written down before it is waited for."""
        digest = hashlib.sha256(msgspec.json.encode(settings, order="sorted")).hexdigest()
        before = ""
        try:
            found = msgspec.json.decode(await self._blobs.read(record), type=_Begun)
            if found.settings == digest:
                if not again:
                    return found.job
                before = found.job
        except (NotFound, msgspec.DecodeError, UnicodeDecodeError):
            pass
        # Two that begin at once name the same token, and a new job after a bad one another.
        token = hashlib.sha256(f"{record} {digest} {before}".encode()).hexdigest()
        job = await self._converter.start(settings, token=token)
        await self._blobs.put(record, msgspec.json.encode(_Begun(job=job, settings=digest)))
        return job

    async def _waited(self, job: str, progress: Callable[[float], None]) -> Seen:
        late = self._clock.monotonic_ms() + _WAIT_S * 1000
        while (seen := await self._converter.look(job)).state == "running":
            progress(seen.share)
            if self._clock.monotonic_ms() > late:
                await self._converter.cancel(job)
                return Seen("failed", seen.share, f"job {job} took more than {_WAIT_S / 3600:.0f} hours")
            await self._clock.sleep(_LOOK_EVERY_S)
        return seen
