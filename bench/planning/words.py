"""How a plan spells numbers, sizes and the device."""

from collections.abc import Iterator

from bench.planning.device import Device


def of_device(device: Device, to_be_said: bool) -> Iterator[str]:
    """to_be_said: the run itself goes to the CPU only where it is told to."""
    memory = f", {gb(device.memory)} {'in all' if device.named else 'free'}" if device.memory is not None else ""
    yield f"device: {device.name} ({device.kind}){memory}" + (": memory only, it need not be here" * device.named)
    if device.note:
        to_be_said = to_be_said and device.kind == "cpu"
        yield device.note + "; suite paper wants --device cpu for the run itself" * to_be_said


def number(value: int | None, counted: bool = True) -> str:
    return "?" if value is None else f"{'' if counted else '~'}{value:,}"


def gb(size: int | None) -> str:
    if size is None:
        return "?"
    for unit, step in (("GB", 10**9), ("MB", 10**6)):
        if size >= step:
            return f"{size / step:.0f} {unit}" if size >= 100 * step else f"{size / step:.1f} {unit}"
    return f"{size / 1000:.0f} kB"
