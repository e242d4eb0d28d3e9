"""Fine-tuning, distillation and scores."""
