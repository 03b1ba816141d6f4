"""Tiny networks on one thread: several only wait for each other."""

import torch

torch.set_num_threads(1)
