"""A large model's encoder taught to a small one."""

from __future__ import annotations

from samedge._optional import require

require("torch", extra="export", what="samedge.train")
require("lightning_fabric", extra="train", what="training")
