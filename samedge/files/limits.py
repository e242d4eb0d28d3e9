"""What a file may ask for, in one table: readers check what a file declares before they believe it.

Files come from strangers, and a few bytes can declare gigabytes. No file under 10 MB may cost more
than 1 GB or 10 s. What is asked is checked here before anything is allocated; docs/security.md
shows the same table (docs/make_security.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from samedge.errors import SamEdgeError

_MB = 10**6


@dataclass(frozen=True)
class Limit:
    """The most that a file may ask for.

    Attributes:
        what: is limited, in plural ("points of a prompt").
        most: the largest number that is read.
        unit: "bytes", "px", or empty for a plain number.
        why: what real files need, or what more would cost.
    """

    what: str
    most: int
    unit: str
    why: str

    def check(self, asked: float, name: str, error: type[SamEdgeError]) -> None:
        """Refuse what asks for more.

        Args:
            asked: what the file declares.
            name: of the file, for the message.

        Raises:
            error: it is more than `most`.
        """
        if asked > self.most:
            raise error(
                f"{name}: {self.what}: {self.text(asked)}; at most {self.text(self.most)} are read"
            )

    def text(self, number: float) -> str:
        """A number of this unit, for people."""
        if self.unit == "bytes":
            return f"{number / _MB:,.4g} MB" if number < 10**12 else f"{number / 1e12:,.4g} TB"
        return f"{number:,.0f} {self.unit}".rstrip()


FRAME_SIDE = Limit(
    "sides of a frame",
    4096,
    "px",
    "clinical frames have up to 2000; also TIFF tiles, video and what lies inside DICOM",
)
JPEG_SCANS = Limit(
    "scans of a JPEG picture",
    64,
    "",
    "every scan goes over all pixels; libjpeg writes 10",
)
VOLUME_TIMES = Limit(
    "times that a packed volume grows (.nii.gz, .npz)",
    20,
    "",
    "scans shrink to a half or a tenth; looked at beyond 300 MB (512 x 512 x 512 px of 16 bits)",
)
VOLUME_SMALL = 300 * _MB
VOLUME_BYTES = Limit(
    "bytes of a packed volume, unpacked",
    4096 * _MB,
    "bytes",
    "it lies in memory; an uncompressed file is read slice by slice",
)
VOLUME_SLICES = Limit("slices of a volume", 16384, "", "a scan of the whole body has 3000")
VOLUME_VOXELS = Limit("voxels of a volume", 1 << 30, "", "its labels, a byte each, lie in memory")
DICOM_TIMES = Limit(
    "times that a deflated DICOM file grows",
    20,
    "",
    "looked at beyond 160 MB; its reader holds what is unpacked three times",
)
DICOM_SMALL = 160 * _MB
DICOM_ITEMS = Limit(
    "items of sequences in a DICOM file's first 16 MB",
    100_000,
    "",
    "10 for each frame of a multi-frame volume; each becomes an object",
)
DICOM_FRAMES = Limit("frames of a DICOM file", 1_000_000, "", "nine hours at 30 / s")
NUMPY_ARRAYS = Limit("arrays of an .npz without a usual name", 64, "", "each head is read")
PROMPT_FILE_BYTES = Limit("bytes of a file of prompts", 16 * _MB, "bytes", "a loop of hours")
PROMPT_ROWS = Limit("rows of a file of prompts", 200_000, "", "ten for each frame of a long loop")
RECORDING_LINE = Limit(
    "bytes of a line of a recorded stream",
    4 * _MB,
    "bytes",
    "a delivery with many prompts has 4 kB",
)
RECORDING_ROWS = Limit("lines of a recorded stream", 5_000_000, "", "a day at 30 / s")
OBJECT_POINTS = Limit(
    "points of one object",
    1024,
    "",
    "they attend to each other, so that time and memory grow with their square",
)
FRAME_POINTS = Limit("points and boxes in one frame", 4096, "", "of all objects together")
FRAME_OBJECTS = Limit("objects in one frame", 1024, "", "each has a mask; a grid of 32 x 32 points")
SELFTEST_BYTES = Limit(
    "bytes of a bundle's self-tests, unpacked",
    256 * _MB,
    "bytes",
    "32 slices of 1024 x 1024 px and their masks have 64 MB",
)
MANIFEST_BYTES = Limit("bytes of a manifest", 4 * _MB, "bytes", "the demo's has 7 kB")
MANIFEST_VALUES = Limit("values of a manifest", 200_000, "", "the demo's has 291")
MANIFEST_DEPTH = Limit("containers of a manifest inside each other", 32, "", "the demo's nests 7")
NETWORK_SIDE = Limit("sides of a network's input", 4096, "px", "SAM has 1024")
NETWORK_VALUES = Limit(
    "px of a network's input, all slices together", 1 << 27, "px", "32 slices of SAM have a quarter"
)
LOW_RES = Limit("sides of low-res logits and of the grid below", 1024, "px", "SAM has 256 and 64")
CHANNELS = Limit("channels of an image embedding", 4096, "", "SAM has 256")
NETWORK_MASKS = Limit("masks of one answer", 64, "", "SAM gives 3")
GRAPH_PARTS = Limit(
    "parts of a graph (numbers, names, nodes)",
    1_000_000,
    "",
    "the demo's encoder has 7,000; weights count as one each",
)
GRAPH_NAME_BYTES = Limit("bytes of a name in a graph", 500, "", "samedge's have 60")
GRAPH_AXES = Limit("axes of a value in a graph", 8, "", "windows of attention have 7")
GRAPH_ELEMENTS = Limit(
    "elements of a value in a graph",
    1 << 36,
    "",
    "ViT-H's attention over 20 slices has 5 billion; no machine holds more than this",
)
BUNDLE_TIMES = Limit(
    "times that a zipped bundle grows", 20, "", "it is stored, not packed; looked at beyond 64 MB"
)
CONFIG_BYTES = Limit("bytes of a training config", _MB, "bytes", "a page of text")
RUN_BYTES = Limit("bytes of a run's record", 16 * _MB, "bytes", "a line for each validation")
LIST_BYTES = Limit("bytes of a list of images", 64 * _MB, "bytes", "a million images of long names")
ENGINE_RECORD_BYTES = Limit("bytes of an engine's record", 64 * _MB, "bytes", "all its layers")
ENGINE_PLAN_BYTES = Limit(
    "bytes of an engine's plan",
    16 * _MB,
    "bytes",
    "300 launches for each of two graphs and seven kinds of GPU: 2 MB",
)
TIMING_CACHE_BYTES = Limit(
    "bytes of a timing cache for TensorRT", 256 * _MB, "bytes", "all layers of many networks"
)
PICKLE_BYTES = Limit(
    "bytes of a checkpoint's pickle",
    16 * _MB,
    "bytes",
    "names and sizes, without the numbers: 0.1 MB for SAM ViT-H, 0.2 MB with AdamW's state",
)
PICKLE_STEPS = Limit(
    "steps of a checkpoint's pickle",
    500_000,
    "",
    "36 for each tensor; ViT-H with AdamW's state has 75,000",
)
PICKLE_DEPTH = Limit(
    "containers of a checkpoint inside each other",
    64,
    "",
    "training scripts nest 5",
)
UNPACKED_TIMES = Limit(
    "times that a compressed checkpoint grows",
    4,
    "",
    "torch.save does not compress, and weights shrink by a tenth; looked at beyond 64 MB",
)
NAMED_TIMES = Limit(
    "times that a checkpoint names the numbers it holds",
    8,
    "",
    "tied and averaged weights are named twice; looked at beyond 64 MB",
)
IGTL_BODY_BYTES = Limit(
    "bytes of an OpenIGTLink message and of the image it is part of",
    64 * _MB,
    "bytes",
    "a frame of 4096 x 4096 px in colour has 50 MB",
)
IGTL_SKIPPED_BYTES = Limit(
    "bytes of an OpenIGTLink message that is skipped",
    1024 * _MB,
    "bytes",
    "volumes that others send on the same connection; none of it is kept",
)
IGTL_SMALL_BYTES = Limit(
    "bytes of an OpenIGTLink message that is no image", _MB, "bytes", "a text has 65,535"
)
IGTL_POINTS = Limit("points of an OpenIGTLink message", 4096, "", "a list of marks has a dozen")
IGTL_METADATA = Limit("metadata of an OpenIGTLink message", 1000, "", "PLUS sends a dozen")
BROWSER_BYTES = Limit("bytes of a message of a viewer's page", 64 << 10, "", "a click has 80")
BROWSERS = Limit("pages that show one stream", 16, "", "a screen, a tablet, a few guests")
BROWSER_CONNECTIONS = Limit(
    "connections to a viewer", 128, "", "a page opens six while it loads; all 16 at once"
)
# Below this, growth is not looked at: a small file of zeros shrinks a thousandfold.
SMALL_BYTES = 64 * _MB

LIMITS = tuple(value for value in tuple(globals().values()) if isinstance(value, Limit))
