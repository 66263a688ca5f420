"""Models of transformers as frozen teachers: `--teacher hf:PATH`."""
