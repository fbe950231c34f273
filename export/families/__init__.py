"""The networks that a recipe can name, one module per family."""
