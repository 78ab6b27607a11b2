"""Modules and layer configs that users compose."""
