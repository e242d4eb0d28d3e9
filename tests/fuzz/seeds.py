"""Small whole files of every kind that samedge reads, as the seeds of all damage.

Where a format has fields of text, a patient's name stands in them.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import nibabel
import numpy as np
import pydicom
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, PngImagePlugin
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from samedge.bundle.sealing import parse_manifest
from samedge.bundle.selftest import SelfTest
from samedge.openigtlink.header import Message
from samedge.openigtlink.image import Image as IgtlImage
from samedge.openigtlink.messages import (
    GetStatus,
    Point,
    Points,
    Status,
    Text,
    Transform,
    message,
)
from samedge.runtime.engines.keys import NvidiaKey
from samedge.runtime.engines.records import EngineRecord
from samedge.runtime.tensorrt.layer_report import EngineLayer, LayerReport
from samedge.runtime.triton.engine_file import MAGIC, engine_bytes
from samedge.runtime.triton.plan import FORMAT, EnginePlan
from samedge.runtime.triton.plan_json import plan_to_json
from samedge.stream.live.settings import LiveSettings
from tests.bench.reports import mode, report, row, small
from tests.fuzz.watching import PATIENT
from tests.openigtlink import captures
from tests.runtime.triton.plans import small_plan

HEIGHT, WIDTH = 18, 21
TINY_BUNDLE = Path(__file__).resolve().parents[1] / "data" / "tiny.samedge"


def grey(dtype: Any = np.uint8, scale: int = 1, channels: int = 0) -> np.ndarray:
    """A picture `[H, W]` or `[H, W, C]`, symmetric in no way."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    plain = ((7 * x + 3 * y) * scale).astype(dtype)
    return plain if not channels else np.stack([np.roll(plain, c, 1) for c in range(channels)], 2)


def pngs() -> list[bytes]:
    """Grey, colours, alpha, palette, single bits, 16 bits."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, PATIENT
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Patient", PATIENT)
    texts.add_text("Comment", PATIENT, zip=True)
    pictures = [
        Image.fromarray(grey()),
        Image.fromarray(grey(channels=3)),
        Image.fromarray(grey(channels=4)),
        Image.fromarray(grey(channels=3)).quantize(16),
        Image.fromarray(grey() > 90),
        Image.fromarray(grey(np.uint16, 300)),
    ]
    return [_saved(p, "PNG", pnginfo=texts, exif=exif) for p in pictures]


def jpegs() -> list[bytes]:
    """Baseline, progressive, CMYK, with orientation and a comment."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 5, PATIENT
    rgb = Image.fromarray(grey(channels=3))
    return [
        _saved(rgb, "JPEG", exif=exif, comment=PATIENT.encode()),
        _saved(rgb, "JPEG", progressive=True, restart_marker_rows=1),
        _saved(rgb.convert("CMYK"), "JPEG"),
        _saved(Image.fromarray(grey()), "JPEG", quality=40),
    ]


def bmps() -> list[bytes]:
    """Grey, colours, alpha, single bits."""
    kinds: tuple[Any, ...] = (grey(), grey(channels=3), grey(channels=4), grey() > 90)
    return [_saved(Image.fromarray(array), "BMP") for array in kinds]


def tiffs() -> list[bytes]:
    """Compressions, types of pixels, pages, orientation, white as 0."""
    page = Image.fromarray(grey())
    said = {270: PATIENT, 315: PATIENT, 274: 6}
    rgb = Image.fromarray(grey(channels=3))
    return [
        *(_saved(rgb, "TIFF", compression=c, tiffinfo=said) for c in (None, "tiff_lzw", "jpeg")),
        _saved(page, "TIFF", save_all=True, append_images=[page, page], tiffinfo=said),
        _saved(Image.fromarray(grey(np.uint16, 300)), "TIFF", compression="tiff_deflate"),
        _saved(Image.fromarray(grey(np.float32)), "TIFF"),
        _saved(Image.fromarray(grey() > 90), "TIFF", compression="group4"),
        _saved(Image.fromarray(grey(channels=4)), "TIFF", compression="packbits"),
        _saved(rgb.quantize(8), "TIFF"),
    ]


def animations() -> list[bytes]:
    """GIF, WebP and animated PNG."""
    frames = [Image.fromarray(np.roll(grey(channels=3), 3 * k, 1)) for k in range(3)]
    more = {"save_all": True, "append_images": frames[1:], "duration": 40}
    return [
        _saved(frames[0], "GIF", comment=PATIENT, **more),
        _saved(Image.fromarray(grey(channels=4)), "GIF"),
        _saved(frames[0], "WEBP"),
        _saved(frames[0], "PNG", **more),
    ]


def dicoms() -> list[bytes]:
    """Native and compressed, grey and colours, loops and volumes, every table and window."""
    words = grey(np.int16, 40)
    loop = np.stack([np.roll(grey(), k, 1) for k in range(3)])
    region = Dataset()
    region.RegionSpatialFormat = region.RegionDataType = 1
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 2
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 19, 16
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.04
    cine = {
        "SequenceOfUltrasoundRegions": Sequence([region]),
        "FrameTimeVector": [0.0, 40.0, 50.0],
        "FrameIncrementPointer": 0x00181065,
        "CineRate": 25,
    }
    ct = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400}
    place = {
        "ImagePositionPatient": [0.0, 0.0, 2.5],
        "ImageOrientationPatient": [1.0, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.5, 0.4],
        "InstanceNumber": 1,
    }
    jpeg = encapsulate([_saved(Image.fromarray(grey(channels=3)), "JPEG")])
    from pydicom.pixels.encoders import RLELosslessEncoder

    packed = RLELosslessEncoder.encode(
        grey(), rows=HEIGHT, columns=WIDTH, samples_per_pixel=1, bits_allocated=8, bits_stored=8,
        pixel_representation=0, photometric_interpretation="MONOCHROME2", number_of_frames=1,
    )  # fmt: skip
    return [
        dicom(grey(), **place),
        dicom(words, PixelRepresentation=1, **ct, **place),
        dicom(grey(channels=3), PhotometricInterpretation="YBR_FULL"),
        dicom(loop, **cine),
        dicom(loop, **_functional_groups(3)),
        dicom(grey(), PhotometricInterpretation="PALETTE COLOR", **_palette()),
        dicom(grey(np.uint16, 20), BitsStored=12, HighBit=11, **_voi_table()),
        dicom(grey(), ImplicitVRLittleEndian),
        dicom(words, ExplicitVRBigEndian, PixelRepresentation=1),
        dicom(grey(), DeflatedExplicitVRLittleEndian),
        dicom(
            grey(channels=3), JPEGBaseline8Bit, PixelData=jpeg,
            PhotometricInterpretation="YBR_FULL_422",
        ),
        dicom(grey(), RLELossless, PixelData=encapsulate([packed])),
    ]  # fmt: skip


def dicom(pixels: np.ndarray, syntax: Any = ExplicitVRLittleEndian, **tags: Any) -> bytes:
    """A DICOM file: `[H, W]`, `[H, W, 3]` or `[F, H, W]`."""
    colour = pixels.ndim == 3 and pixels.shape[2] == 3
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = syntax
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.3.1", "1.2.3.4"
    data.PatientName, data.PatientID, data.Modality = PATIENT, f"id {PATIENT}", "US"
    data.ImageComments = data.StudyDescription = PATIENT
    data.Rows, data.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
    if pixels.ndim == 3 and not colour:
        data.NumberOfFrames = len(pixels)
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelRepresentation = bits - 1, 0
    stored = pixels.astype(pixels.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<"))
    data.PixelData = stored.tobytes()
    for tag, value in tags.items():
        setattr(data, tag, value)
    data["PixelData"].VR = "OB" if bits == 8 or syntax.is_encapsulated else "OW"
    out = io.BytesIO()
    pydicom.dcmwrite(out, data, enforce_file_format=True)
    return out.getvalue()


def _functional_groups(count: int) -> dict[str, Any]:
    def item(**tags: Any) -> Sequence:
        data = Dataset()
        for tag, value in tags.items():
            setattr(data, tag, value)
        return Sequence([data])

    shared = item(
        PlaneOrientationSequence=item(ImageOrientationPatient=[1.0, 0, 0, 0, 1, 0]),
        PixelMeasuresSequence=item(PixelSpacing=[0.5, 0.4], SliceThickness=2.0),
    )
    frames = [
        item(PlanePositionSequence=item(ImagePositionPatient=[0.0, 0.0, 2.0 * k]))[0]
        for k in range(count)
    ]
    return {
        "SharedFunctionalGroupsSequence": shared,
        "PerFrameFunctionalGroupsSequence": Sequence(frames),
    }


def _palette() -> dict[str, Any]:
    tags: dict[str, Any] = {}
    for k, colour in enumerate(("Red", "Green", "Blue")):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        table = ((np.arange(256) * (k + 1)) % 256 * 257).astype("<u2")
        tags[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
    return tags


def _voi_table() -> dict[str, Any]:
    table = Dataset()
    table.LUTDescriptor, table.LUTExplanation = [4096, 0, 8], PATIENT
    table.LUTData = (np.arange(4096) // 16).astype("<u2").tobytes()
    return {"VOILUTSequence": Sequence([table])}


def niftis() -> list[bytes]:
    """NIfTI-1 and -2, both byte orders, types, scales, packed and not, with an extension."""
    volume = np.stack([np.roll(grey(np.int16, 3) - 100, k) for k in range(16)], 2)
    found = []
    for array, kind, fields in (
        (volume, nibabel.Nifti1Image, {"scl_slope": 2.0, "scl_inter": -50.0}),
        (volume.astype(np.uint8), nibabel.Nifti1Image, {}),
        (volume / np.float32(400), nibabel.Nifti2Image, {}),
        (volume[..., :1], nibabel.Nifti1Image, {"xyzt_units": 10, "sform_code": 0}),
    ):
        image: Any = kind(array, np.diag([0.4, 0.5, 2.0, 1.0]))
        image.header["descrip"] = image.header["aux_file"] = PATIENT.encode()[:15]
        image.header["intent_name"] = PATIENT.encode()
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", PATIENT.encode()))
        for field, value in fields.items():
            image.header[field] = value
        found.append(image.to_bytes())
    image = nibabel.Nifti1Image(volume, np.eye(4), nibabel.Nifti1Header(endianness=">"))
    found.append(image.to_bytes())
    return [*found, gzip.compress(found[0], 1, mtime=0), gzip.compress(found[2], 1, mtime=0)]


def arrays() -> list[bytes]:
    """npy and npz: orders, types, colours."""
    volume = np.stack([grey(np.int16, 5), grey(np.int16, 6)])
    plain = (
        grey(),
        grey(channels=3),
        volume,
        np.asfortranarray(volume),
        volume / 3000.0,
        volume.astype(">i2"),
        grey() > 90,
    )
    found = [_npy(array) for array in plain]
    for packed in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        packed(file, image=volume, label=volume > 300, allow_pickle=False)
        found.append(file.getvalue())
    return found


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


@cache
def videos() -> list[bytes]:
    """Containers and codecs."""
    return [
        _video("avi", "mjpeg", "yuvj420p"),
        _video("mp4", "libx264", "yuv420p"),
        _video("matroska", "libx264", "yuv420p"),
        _video("mpegts", "mpeg2video", "yuv420p"),
        _video("avi", "rawvideo", "bgr24"),
    ]


def _video(container: str, codec: str, pixels: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        out.metadata["title"] = out.metadata["artist"] = PATIENT
        stream: Any = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 16, pixels
        stream.time_base = Fraction(1, 25)
        for k in range(4):
            picture = np.tile(np.arange(32, dtype=np.uint8) * (k + 1), (16, 1))
            frame = av.VideoFrame.from_ndarray(np.stack([picture] * 3, 2), format="rgb24")
            frame.pts = k
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


@cache
def bundles() -> list[bytes]:
    """The small bundle of the tests, as one file."""
    return [_zipped({p.relative_to(TINY_BUNDLE).as_posix(): p.read_bytes() for p in _files()})]


def _files() -> Iterable[Path]:
    return sorted(p for p in TINY_BUNDLE.rglob("*") if p.is_file())


def manifests() -> list[bytes]:
    """Its manifest."""
    return [(TINY_BUNDLE / "manifest.json").read_bytes()]


def graphs() -> list[bytes]:
    """The decoder of a bundle, and a small graph of the operators that it does not have."""
    weights = {
        "kernel": np.ones((4, 2, 3, 3), np.int8),
        "scale": np.float32(0.1),
        "scales": np.full(4, 0.1, np.float32),
        "zero": np.int8(0),
        "zeros": np.zeros(4, np.int8),
        "parts": np.array([1, 3]),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "bounds": np.array([1]),
        "more": np.array([-1]),
        "axes": np.array([1]),
        "half": np.ones((8, 8), np.float16),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], name="d"),
        helper.make_node("DequantizeLinear", ["kernel", "scales", "zeros"], ["k"], "k", axis=0),
        helper.make_node("Conv", ["d", "k"], ["c"], "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["c"], ["m"], "m", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Pad", ["m", "pads"], ["p"], "p"),
        helper.make_node("Split", ["p", "parts"], ["s0", "s1"], "s", axis=1),
        helper.make_node("Slice", ["s1", "bounds", "more", "axes"], ["sliced"], "sliced"),
        helper.make_node("Squeeze", ["sliced", "axes"], ["squeezed"], "squeezed"),
        helper.make_node("Cast", ["squeezed"], ["h"], "h", to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["h", "half"], ["product"], "product"),
        helper.make_node("ArgMax", ["product"], ["index"], "index", axis=-1, keepdims=0),
        helper.make_node("ReduceMax", ["s0", "axes"], ["y"], "y", keepdims=0),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 12, 12])
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 8]),
        helper.make_tensor_value_info("index", TensorProto.INT64, [1, 8]),
    ]
    tensors = [numpy_helper.from_array(np.asarray(v), name) for name, v in weights.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "small", [x], outputs, tensors),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    return [model.SerializeToString(), (TINY_BUNDLE / "decoder.fp32.onnx").read_bytes()]


def selftests() -> list[bytes]:
    """An object, and a stack of slices."""
    given = (TINY_BUNDLE / "selftest" / "square-point.npz").read_bytes()
    count = 2
    stack = SelfTest(
        "stack", np.stack([grey()] * count), np.zeros((count, 1, 2)), np.ones((count, 1), np.int64),
        np.array([[1.0, 2, 9, 8]] * count), np.zeros((count, 4, 4), np.float32),
        np.zeros((count, HEIGHT, WIDTH), np.uint8), np.zeros(count, np.float32), stack=True,
    )  # fmt: skip
    return [given, stack.to_bytes()]


def records() -> list[bytes]:
    """Of an engine."""
    key = NvidiaKey("encoder", "fp16", "ab" * 32, "tensorrt", "10.3.0", 87, "Orin")
    layer = EngineLayer(
        name="a", kind="kgen", inputs=("float16",), outputs=("float16",), nodes=("x/MatMul",)
    )
    report = LayerReport((layer,), 1000, 2000)
    parity = {"precision": "fp16", "passed": True, "margin": 3.0, "max_logit_error": 0.1}
    record = EngineRecord(key, "ab" * 32, 7, {"max_side": 512}, (parity,), report)
    return [record.dump(), EngineRecord(key, "ab" * 32, 7).dump()]


@cache
def engines() -> list[bytes]:
    """Engine files, of one kind of GPU and of two."""
    return [b"".join(engine_bytes(*_engine(numbers))) for numbers in ((86,), (87, 120))]


@cache
def plans() -> list[bytes]:
    """The plan of the first as JSON, as the engine file has it."""
    plan, constants, _ = _engine((86,))
    said = {"constants": hashlib.sha256(constants).hexdigest()}
    return [json.dumps({**plan_to_json(plan), **said}).encode()]


def with_plan(text: bytes) -> bytes:
    """An engine file whose hashes are right, whatever its plan."""
    _, constants, code = _engine((86,))
    parts = (text, constants, code)
    head = struct.pack("<8sIIQQQ216x", MAGIC, FORMAT, 0, *map(len, parts))
    data = head + b"".join(part + bytes(-len(part) % 256) for part in parts)
    return data + hashlib.sha256(data).digest()


def _engine(numbers: tuple[int, ...]) -> tuple[EnginePlan, bytes, bytes]:
    return small_plan(parse_manifest(manifests()[0]), numbers)


def prompts() -> list[bytes]:
    """Points and boxes."""
    return [
        b"frame,x,y\n0,12,8\n1,12.5,8\n",
        b"frame,x,y,label,object\n0,12,8,1,1\n0,2,8,0,1\n0,3e0,4,1,2\n",
        b"\xef\xbb\xbfframe,x0,y0,x1,y1,object\r\n0,1,2,20,18,1\r\n5,1,2,20,18,2\r\n",
    ]


def lists() -> list[bytes]:
    """The two files of a data set in the layout of US30K, class.json first."""
    return [
        b'{"Breast-BUSI": 2}\n\n1/Breast-BUSI/benign0001\n1/Breast-BUSI/benign0002\n',
        b'{"Breast-BUSI": 3, "Heart": 4}\n\n2/Breast-BUSI/benign0001\n1/Heart/x.png\n',
    ]


def configs() -> list[bytes]:
    """Of a model: JSON and TOML."""
    return [
        b'{"family": "samus", "embed_dim": 8, "num_heads": 1, "depth": 2, "global_blocks": [1]}',
        b'family = "samus"\nembed_dim = 8\nnum_heads = 1\nglobal_blocks = [1]\n',
    ]


@cache
def runs() -> list[bytes]:
    """`run.json` of a training on the data of `data_set`."""
    from samedge import models
    from samedge.train.data import open_dataset
    from samedge.train.data.items import digest
    from tests.checkpoint.tiny_files import MINUTE

    with tempfile.TemporaryDirectory() as folder:
        data = {"split": "train", "held_out": "val", "samples": 2}
        data["sha256"] = digest(open_dataset(data_set(Path(folder)), "train"))
    settings = {"steps": 3, "batch": 1, "lr": 0.1, "precision": "32-true", "schedule": "constant"}
    run = {
        "kind": "training", "recipe": "full", "family": "samus", "settings": settings,
        "config": asdict(models.tiny(models.SamusConfig, **MINUTE)), "data": data, "processes": 1,
    }  # fmt: skip
    return [json.dumps(run).encode()]


def data_set(folder: Path) -> Path:
    """Three images with masks, inside `folder`."""
    for kind, picture in (("img", grey()), ("label", grey() // 128)):
        (folder / kind).mkdir(parents=True)
        for k in range(3):
            Image.fromarray(np.roll(picture, k, 1)).save(folder / kind / f"{k}.png")
    return folder


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _zipped(parts: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


@cache
def checkpoints() -> list[bytes]:
    """Both formats of torch, and safetensors; names of other projects."""
    from safetensors.torch import save

    tensors, lora = _tensors()
    theirs = [{"meta": {"epoch": 1}, "state_dict": named} for named in _other_names()]
    config = {"input_size": 128, "classes": ["a", "b"]}
    named = {"state_dict": tensors, "samedge_config": {}, "epoch": 3}
    return [
        _torch(named),
        _torch(lora),
        _torch(lora, _use_new_zipfile_serialization=False),
        save({k: v.contiguous() for k, v in lora.items()}, {"samedge_config": json.dumps(config)}),
        *map(_torch, theirs),
    ]


def _tensors() -> tuple[dict[str, Any], dict[str, Any]]:
    from samedge import models
    from tests.checkpoint.tiny_files import MINUTE, samed_file, whole

    return (
        whole(models.tiny(models.SamusConfig, **MINUTE)),
        samed_file(models.tiny(models.SamedConfig, **MINUTE)),
    )


def _other_names() -> tuple[dict[str, Any], dict[str, Any]]:
    from samedge import models
    from tests.checkpoint.tiny_files import MINUTE, earlier_msa
    from tests.checkpoint.ultrasam import UltraSam

    return dict(UltraSam().state_dict()), earlier_msa(models.tiny(models.MsaConfig, **MINUTE))


def _torch(content: Any, **options: Any) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


@cache
def states() -> list[bytes]:
    """`state.pt` of a run."""
    import torch

    from samedge.train.loop.state import STATE, Position, State, random_states

    model = torch.nn.Linear(2, 1)
    optimiser = torch.optim.AdamW(model.parameters())
    state = State(
        Position(step=3), model.state_dict(), optimiser.state_dict(), random=random_states()
    )
    folder = Path(tempfile.mkdtemp())
    try:
        state.save(folder)
        return [(folder / STATE).read_bytes()]
    finally:
        shutil.rmtree(folder)


def openigtlink() -> list[bytes]:
    """What a sender sends over one connection: a frame, and all that may come beside it."""
    place = np.diag([0.3, 0.2, 1.0, 1.0]).astype(np.float32)
    size = (WIDTH, HEIGHT, 1)
    named = {"TransformStatus": "OK", "PatientName": PATIENT}
    ticks = 0x5881540040000000

    def image(pixels: np.ndarray, **more: Any) -> bytes:
        whole = IgtlImage(pixels.reshape(1, *pixels.shape[:2], -1), place, size, **more)
        return message(whole, "Image_Image", ticks, named).pack(2)

    plain, part = image(grey()), image(grey()[:4, :5], offset=(2, 3, 0))
    point = Point(PATIENT, (1.0, 2.0, 0.0), PATIENT, owner="Image")
    rest = [
        message(Transform(place), "ImageToReference", ticks, named).pack(2),
        message(Text(PATIENT), "Text").pack(),
        message(Status(13, 7, PATIENT[:20], PATIENT), "PlusServer").pack(),
        message(GetStatus(), "").pack(2),
        Message("POLYDATA", "Mesh", content=bytes(40)).pack(),
    ]
    marks = message(Points((point, point)), "Marks").pack()
    return [
        plain,
        image(grey(np.uint16, 50)),
        image(grey(np.int16).astype(">i2"), axes="LPS"),
        image(grey(channels=3)),
        b"".join([*rest, marks, plain, part]),
        captures.IMAGE + captures.IMAGE_PART + captures.POINT + captures.TRANSFORM_2,
    ]


Seeds = Callable[[], list[bytes]]


@cache
def _recorded() -> tuple[bytes, dict[str, bytes]]:
    """`stream.jsonl` of a recorded stream, and its frames."""
    from samedge.sources.frame import Frame, Origin, Region
    from samedge.stream.live.controls import Click, Drag, Remove
    from samedge.stream.sinks.live_folder import FolderSink
    from tests.stream.sinks.live_items import about, found, item

    matrix = np.eye(4, dtype=np.float32) / 3
    with tempfile.TemporaryDirectory() as name:
        sink = FolderSink(Path(name))
        sink.open(about(source=PATIENT, settings=LiveSettings().to_json()))
        for k, pixels in enumerate((grey(), grey(channels=3), grey(np.uint16, 99))):
            frame = Frame(
                pixels, k, k / 30, PATIENT, PATIENT, (0.2, 0.1), (0, 1, 9, 9), 50.0 + k / 30, 7.25,
                (Region((0, 1, 9, 9), (0.2, 0.1)),), Origin(1 << 63, matrix, -matrix, 5, True, "I"),
            )  # fmt: skip
            one = found(
                frame,
                1,
                np.asarray(frame.picture > 90, np.uint8).reshape(HEIGHT, WIDTH, -1)[..., 0],
                name=PATIENT,
            )
            said = ((Click(3.0, 4.0), Drag(1, 2, 8, 9)), (Remove(1),), ())[k]
            sink.write(item(k, frame=frame, objects=(one,), commands=said))
        sink.close(None)
        files = {p.name: p.read_bytes() for p in (Path(name) / "frames").iterdir()}
        return (Path(name) / "stream.jsonl").read_bytes(), files


def benchmarks() -> list[bytes]:
    """Reports of few frames: of everything something, and of as good as nothing."""
    return [found.to_text().encode() for found in (small(), report([row("a", mode(5.0, 1, 1))]))]


def recordings() -> list[bytes]:
    """`stream.jsonl`."""
    return [_recorded()[0]]


def recorded_frames() -> dict[str, bytes]:
    """What stands beside it: name -> PNG."""
    return _recorded()[1]
