"""Pixels under a grayscale softcopy presentation state, by pydicom and numpy alone: python softcopy_reference.py IMAGE STATE PNG [STATE PNG ...].
Prints the largest difference and the number of points compared, a line for each picture. Covers modality rescale, softcopy window, shutters, displayed area,
rotation and flip (PS3.3 C.11.1, C.11.8, C.7.6.11, C.10.4, C.10.6)."""
import sys

import numpy
import pydicom
from PIL import Image

image = pydicom.dcmread(sys.argv[1])
for state_path, png_path in zip(sys.argv[2::2], sys.argv[3::2]):
    state = pydicom.dcmread(state_path)
    drawn = numpy.asarray(Image.open(png_path).convert("L")).astype(int)

    values = image.pixel_array.astype(float) * float(state.get("RescaleSlope", 1)) + float(state.get("RescaleIntercept", 0))
    voi = state.SoftcopyVOILUTSequence[0]
    center, width = float(voi.WindowCenter), float(voi.WindowWidth)
    grey = numpy.floor(255 * numpy.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1) + 0.5)
    if state.get("PresentationLUTShape") == "INVERSE":
        grey = 255 - grey

    rows, columns = grey.shape
    row, column = numpy.mgrid[1 : rows + 1, 1 : columns + 1]
    is_open = numpy.ones(grey.shape, bool)
    shapes = state.get("ShutterShape", [])
    shapes = [shapes] if isinstance(shapes, str) else list(shapes)
    if "RECTANGULAR" in shapes:
        is_open &= (column >= state.ShutterLeftVerticalEdge) & (column <= state.ShutterRightVerticalEdge)
        is_open &= (row >= state.ShutterUpperHorizontalEdge) & (row <= state.ShutterLowerHorizontalEdge)
    if "CIRCULAR" in shapes:
        y, x = state.CenterOfCircularShutter
        is_open &= (row - y) ** 2 + (column - x) ** 2 <= state.RadiusOfCircularShutter**2
    grey[~is_open] = round(state.get("ShutterPresentationValue", 0) / 257)

    area = state.DisplayedAreaSelectionSequence[0]
    (x0, y0), (x1, y1) = area.DisplayedAreaTopLeftHandCorner, area.DisplayedAreaBottomRightHandCorner
    left, right, top, bottom = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    shown = grey[top - 1 : bottom, left - 1 : right]
    shown = numpy.rot90(shown, -int(state.ImageRotation) // 90)
    if state.ImageHorizontalFlip == "Y":
        shown = shown[:, ::-1]
    assert shown.shape == drawn.shape, (shown.shape, drawn.shape)
    print(int(abs(shown - drawn).max()), shown.size)
