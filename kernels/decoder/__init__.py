"""The mask decoder in few launches: tokens, the image's look at them, masks."""
