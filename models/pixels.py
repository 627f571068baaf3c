"""Face crops to the numbers that the image encoder sees. Knows pixels only; cropping is `models.faces`."""

import numpy as np


def normalise(crops: np.ndarray) -> np.ndarray:
    """Grey crops uint8 [T, S, S] -> float32 [T, 1, S, S] in -1..1."""
    return ((crops.astype(np.float32) / 255 - 0.5) / 0.5)[:, None]
