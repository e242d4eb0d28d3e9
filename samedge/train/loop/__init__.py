"""The training loop: steps, validations, saved states."""

from __future__ import annotations

from samedge._optional import require

require("torch", extra="export", what="samedge.train")
require("lightning_fabric", extra="train", what="training")
require("monai", extra="train", what="training")
