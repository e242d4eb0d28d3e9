"""Synthetic B-mode ultrasound with its truth. Needs no torch."""
