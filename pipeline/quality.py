"""How much a crop tells about the person in it. Pure numpy."""

import numpy as np

from pipeline.config import QualityConfig
from pipeline.datatypes import F32, U8
from pipeline.geometry import area, shared_area

# A standing person's box is 0.25-0.55 as wide as high; far outside it holds two people, a half, or no one.
_ASPECT = (0.22, 0.75)
# Mean absolute second difference (grey levels) of an in-focus crop, at least: 5 % lie below 3.2 on the TUD street clips
# and below 7 on the rendered ones.
_SHARP = 3.2


def box_quality(boxes_xyxy: F32, size_wh: tuple[int, int], config: QualityConfig) -> F32:
    """(N,) in 0..1: product of height, completeness, freedom from occlusion and plausible shape; (0,) when N is 0."""
    height = boxes_xyxy[:, 3] - boxes_xyxy[:, 1]
    width = boxes_xyxy[:, 2] - boxes_xyxy[:, 0]
    span = max(config.full_height_px - config.min_height_px, 1.0)
    size = np.where(
        height < config.min_height_px, 0.0, np.clip(0.5 + 0.5 * (height - config.min_height_px) / span, 0, 1)
    )
    aspect = width / np.maximum(height, 1.0)
    shape = np.where((aspect > _ASPECT[0]) & (aspect < _ASPECT[1]), 1.0, 0.3)
    return (size * shape * _inside(boxes_xyxy, size_wh) * (1.0 - _occluded(boxes_xyxy))).astype(np.float32)


def sharpness(crop_bgr: U8) -> float:
    """0..1, from the mean absolute second difference of green along rows, on at most 128 sampled rows."""
    step = max(1, crop_bgr.shape[0] // 128)
    green = crop_bgr[::step, ::step, 1].astype(np.int16)
    if min(green.shape) < 3:
        return 0.0
    second = np.abs(green[:, 2:] - 2 * green[:, 1:-1] + green[:, :-2])
    return float(min(1.0, 0.3 + 0.7 * second.mean() / _SHARP))


def _inside(boxes_xyxy: F32, size_wh: tuple[int, int]) -> F32:
    """1, less where a box touches the frame's edge: what lies beyond is cut off."""
    margin = 2.0
    width, height = size_wh
    cut_side = (boxes_xyxy[:, 0] < margin) | (boxes_xyxy[:, 2] > width - margin)
    cut_end = (boxes_xyxy[:, 1] < margin) | (boxes_xyxy[:, 3] > height - margin)
    inside: F32 = np.where(cut_side, 0.5, 1.0) * np.where(cut_end, 0.6, 1.0)
    return inside


def _occluded(boxes_xyxy: F32) -> F32:
    """Largest share of each box that one other box covers; the nearer one (lower feet) loses only a third of it."""
    if len(boxes_xyxy) < 2:
        return np.zeros(len(boxes_xyxy), np.float32)
    in_front = boxes_xyxy[:, None, 3] >= boxes_xyxy[None, :, 3]
    overlap = shared_area(boxes_xyxy, boxes_xyxy)
    share = overlap / np.maximum(area(boxes_xyxy)[:, None], 1.0) * np.where(in_front, 1 / 3, 1.0)
    np.fill_diagonal(share, 0.0)
    covered: F32 = np.clip(share.max(axis=1), 0, 1)
    return covered
