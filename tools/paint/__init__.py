"""Paint strokes on images in the browser and watch a network learn from them: python -m tools.paint."""
