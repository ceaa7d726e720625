"""Archives in a line each; and zips that Python cannot write: encrypted by the old method, as MagicBrush's are."""

import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = (byte >> 1) ^ 0xEDB88320 if byte & 1 else byte >> 1
    TABLE.append(byte)


class Keys:
    """PKWARE's three keys."""

    def __init__(self, password: bytes) -> None:
        self.keys = [0x12345678, 0x23456789, 0x34567890]
        for byte in password:
            self.update(byte)

    def update(self, byte: int) -> None:
        k = self.keys
        k[0] = (k[0] >> 8) ^ TABLE[(k[0] ^ byte) & 0xFF]
        k[1] = ((k[1] + (k[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        k[2] = (k[2] >> 8) ^ TABLE[(k[2] ^ (k[1] >> 24)) & 0xFF]

    def encrypt(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            temporary = (self.keys[2] | 2) & 0xFFFF
            out.append(byte ^ ((temporary * (temporary ^ 1)) >> 8) & 0xFF)
            self.update(byte)
        return bytes(out)


def write_encrypted(path: Path, files: dict[str, bytes], password: str) -> Path:
    """A stored, encrypted zip."""
    body, central = b"", b""
    for name, data in files.items():
        check = zlib.crc32(data)
        packed = Keys(password.encode()).encrypt(bytes(11) + bytes([check >> 24]) + data)
        head = struct.pack("<HHHHHIIIHH", 20, 1, 0, 0, 33, check, len(packed), len(data), len(name), 0)
        central += b"PK\x01\x02" + struct.pack("<H", 20) + head
        central += struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + name.encode()
        body += b"PK\x03\x04" + head + name.encode() + packed
    end = struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(central), len(body), 0)
    path.write_bytes(body + central + b"PK\x05\x06" + end)
    return path


def zipped(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tarred(files: dict[str, bytes], path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path
