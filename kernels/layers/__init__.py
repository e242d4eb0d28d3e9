"""What networks are made of between attentions: products, norms, convolutions, patches."""
