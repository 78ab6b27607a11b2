"""Figures of merit for forecasts, classes and text."""
