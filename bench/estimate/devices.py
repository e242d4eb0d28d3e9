"""Figures of devices: dense throughput, memory, power modes, and the source of each.

Throughput is multiprocessors x clock x operations per clock, without sparsity: vendors quote twice
that for matrices of which half is zero, which no network here has. Where a vendor quotes a figure,
a test compares. Where sources differ the faster one stands here, for a bound must hold. Clocks are
those of data sheets; cards may boost beyond them, so a bound names its clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Precision -> bytes of a value.
PRECISIONS = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "int8": 1, "fp8": 1}


@dataclass(frozen=True)
class Figure:
    """A number and where it is from.

    Attributes:
        value: in the unit that the field says.
        source: document, and how the value follows from it.
        read: it was read there, or in a copy or quotation of it, when it was written down here;
            else it is what the document is known for.
    """

    value: float
    source: str
    read: bool = True


@dataclass(frozen=True)
class Architecture:
    """A generation of multiprocessors.

    Attributes:
        name: with its compute capability.
        ops: precision -> operations per clock of one multiprocessor, a multiply-add being two,
            dense; tensor cores except for "fp32".
        source: of them.
    """

    name: str
    ops: Mapping[str, int]
    source: str


@dataclass(frozen=True)
class Mode:
    """A power mode, or a kind of board.

    Attributes:
        name: "" for a device that has only one.
        sms: multiprocessors.
        mhz: their highest clock.
        gb_s: memory bandwidth, 10^9 bytes per second.
    """

    name: str
    sms: Figure
    mhz: Figure
    gb_s: Figure


@dataclass(frozen=True)
class Quote:
    """What a vendor says, to hold our arithmetic against.

    Attributes:
        precision: of `PRECISIONS`.
        tera: 10^12 operations per second.
        sparse: it counts products with zeros that are left out: twice the dense figure.
        source: where it is said.
        mhz: clock that it is said for; 0 for that of the fastest mode.
    """

    precision: str
    tera: float
    sparse: bool
    source: str
    mhz: float = 0


@dataclass(frozen=True)
class Device:
    """A device.

    Attributes:
        name: on the command line.
        title: for people.
        architecture: of its multiprocessors.
        modes: the fastest one first.
        memory_gb: 10^9 bytes, or 2^30 where the vendor means that.
        cache_mb: second-level cache, which may keep weights from one frame to the next.
        quotes: of the fastest mode.
        note: what a reader has to know.
    """

    name: str
    title: str
    architecture: Architecture
    modes: tuple[Mode, ...]
    memory_gb: Figure
    cache_mb: Figure
    quotes: tuple[Quote, ...]
    note: str = ""

    def ops_per_s(self, mode: Mode, precision: str) -> float | None:
        """Dense operations per second; None if the device has no such unit."""
        ops = self.architecture.ops.get(precision)
        return None if ops is None else ops * mode.sms.value * mode.mhz.value * 1e6

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All of them."""
        of_modes = (figure for mode in self.modes for figure in (mode.sms, mode.mhz, mode.gb_s))
        return (*of_modes, self.memory_gb, self.cache_mb)


_AMPERE = Architecture(
    "Ampere, 8.6",
    {"fp32": 256, "tf32": 512, "fp16": 1024, "bf16": 1024, "int8": 2048},
    "NVIDIA A40 data sheet: 37.4 FP32, and dense 74.8 TF32, 149.7 FP16 and BF16, 299.3 INT8, of 84 "
    "multiprocessors (1.74 GHz)",
)
_ORIN_BRIEF = "NVIDIA Jetson AGX Orin Series Technical Brief"
_ORIN = Architecture(
    "Ampere of Orin, 8.7",
    {"fp32": 256, "tf32": 1024, "fp16": 2048, "bf16": 2048, "int8": 4096},
    f"{_ORIN_BRIEF}: 170 sparse INT8 TOPS and 5.3 FP32 TFLOPS of 16 multiprocessors, halved for "
    "sparsity; derived: FP16 and BF16 are half of INT8 and TF32 is half of those, as in the A40",
)
_ADA = Architecture(
    "Ada, 8.9",
    {"fp32": 256, "tf32": 512, "fp16": 1024, "bf16": 1024, "int8": 2048, "fp8": 2048},
    "tables of third parties: RTX 4090, 128 multiprocessors at 2.52 GHz, dense 330.3 FP16, 660.6 "
    "FP8 and INT8 (sums in FP16); TF32 is taken as half of FP16, and sums in FP32 at the full rate",
)
_H100_PAPER = "NVIDIA H100 Tensor Core GPU Architecture, whitepaper, table of peak rates"
_HOPPER = Architecture(
    "Hopper, 9.0",
    {"fp32": 256, "tf32": 2048, "fp16": 4096, "bf16": 4096, "int8": 8192, "fp8": 8192},
    f"{_H100_PAPER}: dense 989.4 FP16, 494.7 TF32, 1978.9 FP8 and INT8, of 132 multiprocessors at "
    "1.83 GHz",
)
_THOR_NEWS = "NVIDIA's announcements of Jetson Thor (T5000), 2025 and 2026"
_THOR = Architecture(
    "Blackwell of Thor, 11.0",
    {"fp32": 256, "tf32": 4096, "fp16": 8192, "bf16": 8192, "int8": 16384, "fp8": 16384},
    f"{_THOR_NEWS}: 2070 sparse FP4 TFLOPS, of 20 multiprocessors at 1.57 GHz; derived: halved for "
    "sparsity, and for each doubling of the bits; INT8 is taken as fast as FP8",
)
_BLACKWELL = Architecture(
    "Blackwell, 12.0",
    {"fp32": 256, "tf32": 512, "fp16": 1024, "bf16": 1024, "int8": 2048, "fp8": 2048},
    "tables of third parties: RTX PRO 4000 Blackwell SFF, 70 multiprocessors at 1.337 GHz, dense "
    "95.8 FP16, 191.7 FP8 and INT8, 47.9 TF32",
)
_NVPMODEL = "NVIDIA's nvpmodel file of Jetson Linux"
_THIRD = "tables of third parties"


def _orin(name: str, sms: int, mhz: float, gb_s: Figure, source: str) -> Mode:
    """A mode of an Orin, from the file that sets it."""
    parts = Figure(sms, f"{source}: parts of the GPU that are not switched off")
    return Mode(name, parts, Figure(mhz, f"{source}: highest clock of the GPU"), gb_s)


def _lpddr5(mhz: int, bits: int, source: str) -> Figure:
    """Memory that moves `bits` twice per clock, in GB/s."""
    return Figure(mhz * 2e6 * bits / 8e9, f"derived: {bits} bit, and {mhz} MHz in {source}")


_AGX = f"{_NVPMODEL} for the AGX Orin (p3701-0000)"
_NANO = f"{_NVPMODEL} for the Orin Nano (p3767-0003, super)"
_NANO_SHEET = "NVIDIA Jetson Orin Nano Series data sheet"
_AGX_MEMORY = Figure(204.8, "NVIDIA Jetson AGX Orin Series data sheet: LPDDR5, 256 bit", False)
_SUPER = "NVIDIA's figures of the Super Developer Kit, December 2024"
_A4000 = "NVIDIA RTX A4000 data sheet"
_ADA_4000 = "NVIDIA RTX 4000 Ada Generation data sheet"
_ADA_6000 = f"{_THIRD}, of NVIDIA's figures for the RTX 6000 Ada Generation"
DEVICES: tuple[Device, ...] = (
    Device(
        "orin-agx",
        "Jetson AGX Orin 64 GB",
        _ORIN,
        (
            Mode(
                "MAXN",
                Figure(16, _ORIN_BRIEF),
                Figure(1301, f"derived: 5.3 FP32 TFLOPS of 2048 cores, rounded up ({_ORIN_BRIEF})"),
                _AGX_MEMORY,
            ),
            _orin("50W", 16, 816, _AGX_MEMORY, _AGX),
            _orin("30W", 8, 612, _AGX_MEMORY, _AGX),
            _orin("15W", 6, 408, _lpddr5(2133, 256, _AGX), _AGX),
        ),
        Figure(64, "NVIDIA Jetson AGX Orin Series data sheet"),
        Figure(4.194304, f"{_ORIN_BRIEF}: 4 MB"),
        (Quote("int8", 170, True, _ORIN_BRIEF), Quote("fp32", 5.3, False, _ORIN_BRIEF)),
        "GPU alone: the 275 TOPS of the data sheet also count two DLAs, which samedge does not use",
    ),
    Device(
        "orin-nano",
        "Jetson Orin Nano 8 GB (Super)",
        _ORIN,
        (
            Mode(
                "MAXN_SUPER",
                Figure(8, f"{_NANO}: parts of the GPU that are not switched off"),
                Figure(1020, _SUPER),
                Figure(102.4, f"{_SUPER}: 102 GB/s, LPDDR5, 128 bit"),
            ),
            _orin("25W", 8, 918, _lpddr5(3199, 128, _NANO), _NANO),
            _orin("15W", 8, 612, _lpddr5(2133, 128, _NANO), _NANO),
        ),
        Figure(8, _NANO_SHEET),
        Figure(4.194304, "that of the AGX Orin, the same chip; it may be less here", False),
        (
            Quote("int8", 67, True, _SUPER),
            Quote("int8", 40, True, _NANO_SHEET, 625),
        ),
    ),
    Device(
        "thor",
        "Jetson AGX Thor (T5000)",
        _THOR,
        (
            Mode(
                "MAXN",
                Figure(20, "the CUDA driver, as a user reports it in NVIDIA's forum"),
                Figure(1575, f"1.57 GHz in {_THIRD}, rounded up"),
                Figure(273, "NVIDIA Jetson Thor data sheet: LPDDR5X, 256 bit", False),
            ),
        ),
        Figure(128, _THIRD),
        Figure(33.554432, "32 MiB: the CUDA driver, as a user reports it in NVIDIA's forum"),
        (
            Quote("fp8", 1035, True, f"{_THOR_NEWS}: half of 2070 for FP4"),
            Quote("fp16", 258.5, False, _THIRD),
        ),
        "power modes below MAXN are left out, because no source with their clocks was at hand",
    ),
    Device(
        "rtx-a4000",
        "RTX A4000",
        _AMPERE,
        (
            Mode(
                "",
                Figure(48, f"derived: 6144 CUDA cores, 128 per multiprocessor ({_A4000})"),
                Figure(1560, f"boost clock: {_THIRD}"),
                Figure(448, _A4000),
            ),
        ),
        Figure(16, _A4000),
        Figure(4.194304, f"GA104, 4 MB: {_THIRD}"),
        (Quote("fp32", 19.2, False, _A4000), Quote("fp16", 153.4, True, _A4000)),
    ),
    Device(
        "rtx-4000-ada",
        "RTX 4000 Ada Generation",
        _ADA,
        (
            Mode(
                "",
                Figure(48, f"derived: 6144 CUDA cores, 128 per multiprocessor ({_ADA_4000})"),
                Figure(2175, f"boost clock: {_THIRD}"),
                Figure(360, _ADA_4000, False),
            ),
        ),
        Figure(20, _ADA_4000),
        Figure(50.331648, f"AD104, 48 MB: {_THIRD}"),
        (Quote("fp32", 26.7, False, f"{_THIRD}, of NVIDIA's figure"),),
        "it is quoted with 327.6 sparse tensor TFLOPS, less than its cores and clock give in FP8 "
        "(428); the larger figure is taken",
    ),
    Device(
        "rtx-6000-ada",
        "RTX 6000 Ada Generation",
        _ADA,
        (
            Mode(
                "",
                Figure(142, _ADA_6000),
                Figure(2505, f"boost clock: {_THIRD}"),
                Figure(960, _ADA_6000),
            ),
        ),
        Figure(48, _ADA_6000),
        Figure(100.663296, f"AD102, 96 MB: {_THIRD}"),
        (Quote("fp32", 91.1, False, _ADA_6000),),
    ),
    Device(
        "rtx-pro-4000",
        "RTX PRO 4000 Blackwell",
        _BLACKWELL,
        (
            Mode(
                "",
                Figure(70, f"derived: 8960 CUDA cores, 128 per multiprocessor ({_THIRD})"),
                Figure(2617, f"boost clock: {_THIRD}"),
                Figure(672, f"GDDR7, 192 bit: {_THIRD}"),
            ),
        ),
        Figure(24, _THIRD),
        Figure(67.108864, "GB203: 64 MB; third parties give cards of this size 48", False),
        (),
        "no document of NVIDIA's with its rates was at hand; all of it is from third parties",
    ),
    Device(
        "h100",
        "H100",
        _HOPPER,
        (
            Mode(
                "SXM5",
                Figure(132, _H100_PAPER),
                Figure(1980, f"{_H100_PAPER}: clock of its FP32 rate; tensor rates are for 1830"),
                Figure(3352, f"{_H100_PAPER}: 3.35 TB/s"),
            ),
            Mode(
                "PCIe",
                Figure(114, "NVIDIA H100 (PCIe), documentation of LaunchPad"),
                Figure(1760, f"derived: 51 FP32 TFLOPS of 14592 cores, rounded up ({_THIRD})"),
                Figure(2039, f"2 TB/s: {_THIRD}; 2039 GB/s by HBM2e's clock"),
            ),
        ),
        Figure(80, _H100_PAPER),
        Figure(52.4288, "50 MB: NVIDIA H100 (PCIe), documentation of LaunchPad"),
        (
            Quote("fp32", 66.9, False, _H100_PAPER),
            Quote("fp16", 989.4, False, _H100_PAPER, 1830),
            Quote("int8", 1978.9, False, _H100_PAPER, 1830),
            Quote("tf32", 494.7, False, _H100_PAPER, 1830),
        ),
    ),
)
BY_NAME = {device.name: device for device in DEVICES}
