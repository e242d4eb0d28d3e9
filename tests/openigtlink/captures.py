"""Messages byte by byte, written out from the protocol's description (version 3.0, 2017).

Checksums are those of long division (`by_definition` in `test_crc64.py`; a test does it again).
"""

from __future__ import annotations


def capture(text: str) -> bytes:
    """Hexadecimal lines, with what they mean behind a "#"."""
    return bytes.fromhex("".join(line.partition("#")[0] for line in text.splitlines()))


TICKS = 0x5881540040000000  # 2017-01-20 00:04:16.25 UTC

TRANSFORM = capture("""
    0001                                        # header version 1
    5452414e53464f524d 000000                   # TRANSFORM
    496d616765546f5265666572656e6365 00000000   # ImageToReference
    58815400 40000000                           # time stamp
    0000000000000030                            # 48 bytes follow
    40c410e0477f2f6a                            # checksum of these
    3f800000 00000000 00000000                  # R11 R21 R31: 1 0 0
    00000000 00000000 3f800000                  # R12 R22 R32: 0 0 1
    00000000 bf800000 00000000                  # R13 R23 R33: 0 -1 0
    41200000 c1a00000 41f00000                  # TX TY TZ: 10 -20 30 mm
""")

TRANSFORM_2 = capture("""
    0002                                        # header version 2
    5452414e53464f524d 000000                   # TRANSFORM
    496d616765546f5265666572656e6365 00000000   # ImageToReference
    58815400 40000000                           # time stamp
    0000000000000078                            # 120 bytes follow
    1a7783925e8c8fb5                            # checksum of these
    000c                                        # the extended header has 12 bytes
    0012                                        # the sizes of the metadata have 18
    0000002a                                    # the metadata itself has 42
    00000007                                    # message number 7
    3f800000 00000000 00000000                  # R11 R21 R31: 1 0 0
    00000000 00000000 3f800000                  # R12 R22 R32: 0 0 1
    00000000 bf800000 00000000                  # R13 R23 R33: 0 -1 0
    41200000 c1a00000 41f00000                  # TX TY TZ: 10 -20 30 mm
    0002                                        # two entries
    000f 0003 00000007                          # key of 15 bytes, US-ASCII, 7 bytes
    000e 006a 00000006                          # key of 14 bytes, UTF-8, 6 bytes
    5472616e73666f726d537461747573              # TransformStatus
    494e56414c4944                              # INVALID
    5472616e73666f726d4e6f746573               # TransformNotes
    c3bc c3bc c3bc                              # three times u with two dots
""")

IMAGE = capture("""
    0001                                        # header version 1
    494d414745 00000000000000                   # IMAGE
    496d6167655f5265666572656e6365 0000000000   # Image_Reference
    58815400 40000000                           # time stamp
    000000000000004e                            # 78 bytes follow
    9ab1230a057eb8f5                            # checksum of these
    0001                                        # version of the image header
    01 03 02 01                                 # one component, uint8, little endian, RAS
    0003 0002 0001                              # 3 x 2 x 1 px
    3e800000 00000000 00000000                  # TX TY TZ: 0.25 mm along i
    00000000 3f000000 00000000                  # SX SY SZ: 0.5 mm along j
    00000000 00000000 3f800000                  # NX NY NZ: 1 mm along k
    41200000 c1a00000 41f00000                  # PX PY PZ: the centre at 10 -20 30 mm
    0000 0000 0000                              # the part begins at 0 0 0
    0003 0002 0001                              # and is all of it
    00 01 02                                    # first row
    fd fe ff                                    # second row
""")

IMAGE_PART = capture("""
    0001                                        # header version 1
    494d414745 00000000000000                   # IMAGE
    496d6167655f496d616765 000000000000000000   # Image_Image
    58815400 40000000                           # time stamp
    000000000000004c                            # 76 bytes follow
    5308684747a600ea                            # checksum of these
    0001                                        # version of the image header
    01 05 01 02                                 # one component, uint16, big endian, LPS
    0004 0003 0001                              # 4 x 3 x 1 px
    3f800000 00000000 00000000                  # 1 mm along i
    00000000 3f800000 00000000                  # 1 mm along j
    00000000 00000000 3f800000                  # 1 mm along k
    00000000 00000000 00000000                  # the centre at 0 0 0
    0001 0002 0000                              # the part begins at column 1, row 2
    0002 0001 0001                              # and has 2 columns, 1 row
    0102 fffe                                   # 258, 65534
""")

STRING = capture("""
    0001                                        # header version 1
    535452494e47 000000000000                   # STRING
    54657874 00000000000000000000000000000000   # Text
    58815400 40000000                           # time stamp
    0000000000000009                            # 9 bytes follow
    11bb731ffe031765                            # checksum of these
    0003 0005                                   # US-ASCII, 5 bytes
    68656c6c6f                                  # hello
""")

STATUS = capture("""
    0001                                        # header version 1
    535441545553 000000000000                   # STATUS
    506c7573536572766572 00000000000000000000   # PlusServer
    58815400 40000000                           # time stamp
    0000000000000021                            # 33 bytes follow
    a050fc7ae9f2cb45                            # checksum of these
    0001                                        # 1: OK
    0000000000000000                            # sub code
    4f4b 000000000000000000000000000000000000   # "OK"
    676f 00                                     # "go"
""")

GET_STATUS = capture("""
    0001                                        # header version 1
    4745545f535441545553 0000                   # GET_STATUS
    0000000000000000000000000000000000000000    # no device
    58815400 40000000                           # time stamp
    0000000000000000                            # 0 bytes follow
    0000000000000000                            # checksum of these
""")

POINT = capture("""
    0001                                        # header version 1
    504f494e54 00000000000000                   # POINT
    46 00000000000000000000000000000000000000   # F
    58815400 40000000                           # time stamp
    0000000000000088                            # 136 bytes follow
    992e0dbbcf1df707                            # checksum of these
    462d31 0000000000 0000000000000000          # "F-1", 64 bytes
    0000000000000000 0000000000000000 0000000000000000
    0000000000000000 0000000000000000 0000000000000000
    47524f55505f30 00 0000000000000000          # "GROUP_0", 32 bytes
    0000000000000000 0000000000000000
    ff 00 80 ff                                 # R G B A
    3f800000 c0000000 40400000                  # 1 -2 3 mm
    41700000                                    # diameter 15
    494d4147455f30 00 0000000000000000 00000000 # "IMAGE_0", 20 bytes
""")
