"""How a plan spells numbers, sizes and the device."""

from collections.abc import Iterator

from bench.planning.device import Device


def of_device(device: Device) -> Iterator[str]:
    memory = f", {gb(device.memory)} {'in all' if device.named else 'free'}" if device.memory is not None else ""
    yield f"device: {device.name} ({device.kind}){memory}" + (": memory only, it need not be here" * device.named)
    if device.note:
        yield device.note


def number(value: int | None, counted: bool = True) -> str:
    return "?" if value is None else f"{'' if counted else '~'}{value:,}"


def gb(size: int | None) -> str:
    if size is None:
        return "?"
    for unit, step in (("GB", 10**9), ("MB", 10**6)):
        if size >= step:
            return f"{size / step:.0f} {unit}" if size >= 100 * step else f"{size / step:.1f} {unit}"
    return f"{size / 1000:.0f} kB"
