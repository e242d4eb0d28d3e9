"""The training loop: steps, validations, saved states."""
