"""Weights in and out: Hugging Face, original V-JEPA 2 checkpoints, torch.export and ONNX."""
