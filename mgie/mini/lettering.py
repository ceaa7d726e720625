"""Text drawn without a font library: the classic 5x7 display letters, columns as bits.

For the watermarks, caption bars and date stamps of family clean-up. Capital letters and digits only.
"""

import numpy as np

from mgie.mini.draw import Image

COLUMNS = {  # five bytes a letter, lowest bit on top
    "A": "7E1111117E", "B": "7F49494936", "C": "3E41414122", "D": "7F4141221C", "E": "7F49494941", "F": "7F09090901",
    "G": "3E4149497A", "H": "7F0808087F", "I": "00417F4100", "J": "2040413F01", "K": "7F08142241", "L": "7F40404040",
    "M": "7F020C027F", "N": "7F0408107F", "O": "3E4141413E", "P": "7F09090906", "Q": "3E4151215E", "R": "7F09192946",
    "S": "4649494931", "T": "01017F0101", "U": "3F4040403F", "V": "1F2040201F", "W": "3F4038403F", "X": "6314081463",
    "Y": "0708700807", "Z": "6151494543", "0": "3E5149453E", "1": "00427F4000", "2": "4261514946", "3": "2141454B31",
    "4": "1814127F10", "5": "2745454539", "6": "3C4A494930", "7": "0171090503", "8": "3649494936", "9": "064949291E",
    " ": "0000000000",
}  # fmt: skip


def letters(text: str, stretch: int = 1) -> Image:
    """(7 stretch, 6 stretch n) alpha: 255 where ink is."""
    columns = [byte for letter in text for byte in (*bytes.fromhex(COLUMNS[letter]), 0)]
    bits = np.array(columns, np.uint8)[None, :] >> np.arange(7, dtype=np.uint8)[:, None] & 1
    return np.repeat(np.repeat(bits * np.uint8(255), stretch, axis=0), stretch, axis=1)
